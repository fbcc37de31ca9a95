"""Notes of queues and schedules that a transaction makes for observers, who are told of them once it is committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from durable.core.ids import PREFIX

if TYPE_CHECKING:
    from durable.core.events import Event


class Note(NamedTuple):
    """A change of a queue or of a schedule, whose name is `name`. `execution`: the promise that it is about."""

    kind: Literal["enqueued", "admitted", "queue", "fired", "skipped"]
    name: str
    execution: str = ""
    state: str = ""
    """Of the queue, or of the entry that was put into it."""
    ms: int = 0
    """How long an entry had waited; the tick of a schedule."""


def event_of(note: Note) -> Event:
    """The event that a note becomes once it is committed."""
    from durable.core import events

    execution = note.execution.removeprefix(PREFIX)
    match note.kind:
        case "enqueued":
            return events.ExecutionEnqueued(execution, note.name, note.state)
        case "admitted":
            return events.ExecutionAdmitted(execution, note.name, note.ms)
        case "queue":
            return events.QueueChanged(note.name, note.state)
        case "fired":
            return events.ScheduleFired(note.name, execution, note.ms)
        case "skipped":
            return events.ScheduleSkipped(note.name, note.ms)
