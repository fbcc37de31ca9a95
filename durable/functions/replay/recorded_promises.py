"""Everything recorded under an execution, page by page: what a replay is matched with."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from durable.core.limits import BEGUN_ROWS

PAGE_ROWS = 5_000
"""Promises a request: the writer answers others in between."""


class Asks(Protocol):
    async def request(self, kind: str, data: dict[str, Any], /) -> Any: ...


class ExecutionRecord(msgspec.Struct):
    """The calls, steps and children of an execution, in order of id, and what its task says beside them."""

    promises: list[dict[str, Any]] = []
    logged: str | None = None
    """Lines that each function had logged at the last suspension, as JSON."""
    cancelled: str | None = None
    """Why it is being cancelled; None when it is not."""
    cancelled_at: int | None = None
    """When that was asked for."""


async def read_record(store: Asks, execution: str, begun: dict[str, Any] | None = None) -> ExecutionRecord:
    """The record of `exec:<id>`. begun: its first BEGUN_ROWS, as `call.list` gives them, which came with a lease."""
    found = ExecutionRecord()
    data, most, after = begun, BEGUN_ROWS, ""
    while True:
        if data is None:
            most = PAGE_ROWS
            data = (await store.request("call.list", {"execution": execution, "limit": most, "after": after})).data
        page = data["promises"]
        found.promises += page
        found.logged, found.cancelled = data.get("logged"), data.get("cancelled")
        found.cancelled_at = data.get("cancelled_at")
        if len(page) < most:
            return found
        data, after = None, page[-1]["id"]


async def recorded(store: Asks, execution: str) -> list[dict[str, Any]]:
    """Calls, steps and children of `exec:<id>`, in order of id."""
    return (await read_record(store, execution)).promises
