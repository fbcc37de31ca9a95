"""Logs as lines of JSON, with the ids of what was going on (specs/telemetry.md, L1-L4)."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO, override

from capabilities.capability import call_id
from durable.core.events import Event, Logged
from durable.core.ids import PREFIX
from durable.telemetry.trace_ids import root_of

TEXT_CHARS_MAX = 100_000
"""Characters of one text in a line; collectors cut or refuse lines that are much longer."""

_IDS = ("execution", "session")


class JsonFormatter(logging.Formatter):
    """One record as one line. Records of events have the event's fields; those that steps log, the step's ids."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        event = record.__dict__.get("event")
        if isinstance(event, Event):
            line |= _of_event(event)
        else:
            line["message"] = record.getMessage()
            line |= _of_step()
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps({name: _cut(value) for name, value in line.items()}, default=str, ensure_ascii=False)


def message_line(logger: str, text: str) -> str:
    """A line with a message of ours, as the formatter has it."""
    return JsonFormatter().format(logging.LogRecord(logger, logging.INFO, "", 0, text, None, None))


def log_json(level: int = logging.INFO, stream: TextIO | None = None) -> logging.Handler:
    """Write the log of this process's engines as JSON lines, to stderr or a stream; returns the handler.

    level: of `durable`; logging.DEBUG for the events of the normal course too.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("durable")
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
    return handler


def _of_event(event: Event) -> dict[str, object]:
    if isinstance(event, Logged):
        return {"message": event.text, "execution": event.execution, "function": event.function, "line": event.number}
    found = event.details()
    first = {name: found.pop(name) for name in _IDS if name in found}
    return {"event": type(event).__name__, **first, **found}


def _of_step() -> dict[str, object]:
    """The execution and the step in which this is logged, where it is logged in one."""
    try:
        step = call_id().removeprefix(PREFIX)
    except LookupError:
        return {}
    return {"execution": root_of(step).partition(":")[0], "step": step}


def _cut(value: object) -> object:
    return f"{value[:TEXT_CHARS_MAX]}…" if isinstance(value, str) and len(value) > TEXT_CHARS_MAX else value
