"""The mark of a store that `durable copy` had not finished: its schema's version. Whoever opens it is told."""

from __future__ import annotations

UNFINISHED = -1
"""No version of a schema is negative."""


def unfinished(store: str) -> str:
    """The message of whoever opens one."""
    return f"store {store} is a copy that was not finished; begin again with `durable copy`, to the same place"
