"""Everything recorded under an execution, page by page: what a replay is matched with."""

from __future__ import annotations

from typing import Any, Protocol

PAGE = 5_000
"""Promises a request: the writer answers others in between."""


class Asks(Protocol):
    async def request(self, kind: str, data: dict[str, Any], /) -> Any: ...


async def recorded(store: Asks, execution: str) -> list[dict[str, Any]]:
    """Calls, steps and children of `exec:<id>`, in order of id."""
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        answer = await store.request("call.list", {"execution": execution, "limit": PAGE, "after": after})
        page = answer.data["promises"]
        found += page
        if len(page) < PAGE:
            return found
        after = page[-1]["id"]
