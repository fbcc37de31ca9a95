"""The inbox: open questions, and answering one exactly once, from any process."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from capabilities.prompt import Prompt, Settlement
from durable.core import ids
from durable.core.errors import Conflict, NotFound, StoreRefused
from durable.functions.values import pack, unpack
from durable.store.face import StoreFace


@dataclass(frozen=True, slots=True)
class OpenPrompt:
    """A question that waits: its promise id, which execution asks, what, since when (ms), until when (ms)."""

    id: str
    execution: str
    prompt: Prompt
    created_at: int
    timeout_at: int

    @property
    def question(self) -> str:
        return self.prompt.question


class Prompts:
    """Questions in one store."""

    def __init__(self, store: StoreFace) -> None:
        self._store = store

    async def open(self) -> list[OpenPrompt]:
        """All open questions, oldest first."""
        rows = await self._store.reads.prompts()
        return [
            OpenPrompt(row.id, ids.execution_of(row.id), _prompt(row.param), row.created_at, row.timeout_at)
            for row in rows
        ]

    async def get(self, prompt_id: str) -> dict[str, Any]:
        """The prompt's promise; NotFound when the id names none."""
        if ids.parse_call(prompt_id) is None:
            raise NotFound("prompt", prompt_id, "`durable inbox` lists the open ones")
        try:
            answer = await self._store.request("promise.get", {"id": prompt_id})
        except StoreRefused as error:
            if error.status == 404:
                raise NotFound("prompt", prompt_id, "`durable inbox` lists the open ones") from None
            raise
        promise: dict[str, Any] = answer.data["promise"]
        if (promise.get("tags") or {}).get("durable:capability") != "input":
            raise NotFound("prompt", prompt_id, "this is a call that the host answers")
        return promise

    async def answer(self, prompt_id: str, value: Any, *, by: str | None, decline: bool) -> None:
        """Check the answer and settle the promise; first valid answer wins."""
        promise = await self.get(prompt_id)
        if promise["state"] != "pending":
            raise _already(prompt_id, promise)
        if not decline:
            _prompt(unpack((promise.get("param") or {}).get("data"))).check(prompt_id, value)
        nonce = uuid.uuid4().hex
        settlement = Settlement(value=None if decline else value, by=by, nonce=nonce, declined=decline)
        answer = await self._store.request(
            "promise.settle",
            {"id": prompt_id, "state": "resolved", "value": {"data": pack(settlement.model_dump(mode="json"))}},
        )
        settled = answer.data["promise"]
        if Settlement.from_record(unpack((settled.get("value") or {}).get("data"))).nonce != nonce:
            raise _already(prompt_id, settled)

    async def blocking(self, execution_id: str) -> list[str] | None:
        """Prompts that keep an execution waiting; None while it, or a child of it, can still go on by itself."""
        reads = self._store.reads
        row = await reads.get_execution(execution_id)
        if row is None or row.state != "waiting":
            return None
        prefix = ids.execution_promise(execution_id)
        prompts = [p.id for p in await reads.prompts() if p.id.startswith((f"{prefix}:", f"{prefix}."))]
        return prompts or None


def _prompt(param: Any) -> Prompt:
    found = param if isinstance(param, dict) else {"question": str(param)}
    return Prompt.model_validate(found)


def _already(prompt_id: str, promise: dict[str, Any]) -> Conflict:
    if promise["state"] == "rejected_timedout":
        return Conflict(f"{prompt_id} passed its deadline; it cannot be answered any more")
    if promise["state"] != "resolved":
        return Conflict(f"{prompt_id} was cancelled; it cannot be answered any more")
    settlement = Settlement.from_record(unpack((promise.get("value") or {}).get("data")))
    how = "declined" if settlement.declined else f"answered with {settlement.value!r}"
    return Conflict(f"{prompt_id} was already {how}" + (f" by {settlement.by}" if settlement.by else ""))
