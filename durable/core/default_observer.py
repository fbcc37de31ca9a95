"""The default observer, without the events: whoever only looks at a store needs none of their classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from durable.core.events import Event


def log_event(event: Event) -> None:
    """One debug line per event, a warning for what went wrong."""
    from durable.core import events

    events.log_event(event)
