"""How a pass ended, from what its worker said or what the final checkpoint carries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.messages import Error, Result
from durable.core.errors import ResourceExceeded
from durable.functions.failure import cut, document
from durable.sessions.cell import Done, Failed

WARNINGS_MAX = 100
"""Recorded of one execution; a table of blocking calls meets few."""


def outcome_from(reply: Result | Error | ResourceExceeded, execution_id: str) -> Done | Failed:
    """The outcome that a worker's reply is."""
    if isinstance(reply, ResourceExceeded):
        return Failed(document(reply, execution_id))
    if isinstance(reply, Error):
        return Failed(
            {
                "type": "error",
                "exception_type": cut(reply.exception_type),
                "exception_message": cut(reply.exception_message),
                "traceback": cut(reply.traceback),
                "execution_id": execution_id,
                **_about(reply),
            }
        )
    value = {"value": reply.value, "repr": reply.repr, "execution_time": reply.execution_time}
    return Done({"id": execution_id, **value, **_about(reply)})


def _about(reply: Result | Error) -> dict[str, Any]:
    """What else the record says of an execution, where there is something to say."""
    found: dict[str, Any] = {} if reply.mode == "simple_sync" else {"mode": reply.mode}
    if reply.warnings:
        found["warnings"] = [cut(text) for text in reply.warnings[:WARNINGS_MAX]]
    if reply.rollback is not None:
        found["rollback"] = reply.rollback.model_dump()
    return found


def outcome_of(found: Mapping[str, Any], execution_id: str) -> Done | Failed:
    """The outcome that a final checkpoint carries."""
    if found.get("type") == "error":
        return Failed({**found, "execution_id": execution_id})
    return Done({**found, "id": execution_id})
