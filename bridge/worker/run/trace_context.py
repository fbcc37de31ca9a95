"""The trace that a cell is part of: user code that uses OpenTelemetry continues it, where that is installed.

OpenTelemetry is imported here for the first cell that is traced, never otherwise; nothing of ours depends on it.
"""

from __future__ import annotations

from contextlib import suppress
from contextvars import Context
from importlib.util import find_spec
from typing import Any


class TraceContext:
    """The trace context of one namespace's code, entered for each cell and left after it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._token: Any = None

    def enter(self, traceparent: str) -> None:
        """Make this context the current one of the code. Nothing where it is "" or OpenTelemetry is not to be had."""
        if traceparent:
            with suppress(Exception):  # another version of the library, or one that its user broke
                self._token = self._context.run(_attach, traceparent)

    def leave(self) -> None:
        """Make the context current again that was before."""
        token, self._token = self._token, None
        if token is not None:
            with suppress(Exception):
                self._context.run(_detach, token)


def _attach(traceparent: str) -> Any:
    if find_spec("opentelemetry") is None:
        return None
    from opentelemetry import context, trace
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

    _version, trace_id, span_id, flags = traceparent.split("-")[:4]
    caller = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return context.attach(trace.set_span_in_context(NonRecordingSpan(caller)))


def _detach(token: Any) -> None:
    from opentelemetry import context

    context.detach(token)
