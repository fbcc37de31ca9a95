"""Tags of the promises by which an execution writes to streams and publishes (specs/streams.md)."""

from __future__ import annotations

STREAM = "durable:stream"
"""Tag of a write: the name of its stream."""
ITEMS = "durable:items"
"""Tag of a write: how many items it has; one where it is left out."""
PUBLISH = "durable:publish"
"""Tag of a publication: its keys, as JSON."""
STEP = "durable:step"
POSITION = "durable:position"
ITEM = "durable:item"
"""Tags of a step's write: its step, the number of its first item there, the digest of what it writes."""


def is_write(tags: dict[str, str]) -> bool:
    """Whether a promise with these tags is a write or a publication."""
    return STREAM in tags or PUBLISH in tags
