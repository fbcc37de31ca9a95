"""Ids of traces and spans, made from those of executions: every engine makes the same (specs/telemetry.md, T1-T4)."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?\Z", re.DOTALL)


class TraceParent(NamedTuple):
    """A W3C trace context: the trace, the span in it, and whether it is recorded."""

    trace_id: int
    span_id: int
    sampled: bool

    def __str__(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{'01' if self.sampled else '00'}"


def read_traceparent(text: str) -> TraceParent | None:
    """The context in a `traceparent`; None for what is none, and for all zeros, which W3C has mean none."""
    found = _TRACEPARENT.match(text)
    if found is None:
        return None
    trace_id, span_id, flags = int(found[1], 16), int(found[2], 16), int(found[3], 16)
    return TraceParent(trace_id, span_id, bool(flags & 1)) if trace_id and span_id else None


def root_of(execution: str) -> str:
    """The execution that another one belongs to: `r` for a cell `r.2` or a nested function `r.2.1`, else itself."""
    return execution.partition(".")[0]


def trace_id_of(execution: str) -> int:
    """The trace of an execution, which all that it has done by others belongs to as well."""
    return _number(f"trace\0{root_of(execution)}", 16)


def attempt_span_id(execution: str, attempt: int) -> int:
    """The span of one attempt at an execution: whoever makes the next attempt knows it, though that engine is gone."""
    return _number(f"attempt\0{execution}\0{attempt}", 8)


def _number(text: str, size: int) -> int:
    """A number of so many bytes that is not zero, which means none."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=size).digest()) or 1
