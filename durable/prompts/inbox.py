"""The inbox: open questions, and answering one exactly once, from any process (specs/prompt.md)."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from capabilities.prompts.states import PromptState, state_of
from durable.core import ids
from durable.core.answer_types import Given
from durable.core.clock import TIME_MAX_MS, now_ms
from durable.core.errors import (
    AnswerLate,
    BadArguments,
    Conflict,
    InvalidAnswer,
    NotEncodable,
    NotFound,
    StoreRefused,
)
from durable.core.events import Observer, PromptAnswered, log_event
from durable.core.limits import WHY_CHARS_MAX
from durable.core.observers import watching
from durable.records.values import pack, to_json, unpack
from durable.store.port import StoreFace

if TYPE_CHECKING:
    from capabilities.prompts.prompt import Prompt, Settlement
    from durable.prompts.open_prompt import OpenPrompt

_TRIES_MAX = 1_000
"""How often an answer is looked at anew because others came in between: each time at least one of them was recorded."""


class Inbox:
    """Questions in one store."""

    def __init__(self, store: StoreFace, clock: Callable[[], int] = now_ms, observer: Observer = log_event) -> None:
        self._observe = observer
        self._store = store
        self._clock = clock

    async def open(self) -> list[OpenPrompt]:
        """All open questions, oldest first."""
        rows = await self._store.reads.prompts()
        if not rows:
            return []  # whoever watches looks often, and mostly nobody is asked: without pydantic then
        from capabilities.prompts.prompt import read_prompt
        from durable.prompts.open_prompt import OpenPrompt

        return [
            OpenPrompt(row.id, ids.execution_of(row.id), read_prompt(row.param), row.created_at, row.timeout_at)
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

    # -- answering --------------------------------------------------------------------------------------------------

    async def answer(
        self,
        prompt_id: str,
        value: Any,
        *,
        by: str | None,
        decline: bool,
        why: str = "",
        via: str = "api",
        teams: Sequence[str] = (),
    ) -> bool:
        """Check the answer and record it: the first valid one settles the question, or those of as many as it needs.

        False when the question still waits for others. InvalidAnswer, NotAsked and BadArguments leave it as it was;
        Conflict names who answered first; AnswerLate.
        """
        from capabilities.prompts.answer_rules import check_who, decide
        from capabilities.prompts.answer_validation import validated
        from capabilities.prompts.prompt import Settlement

        promise = await self.get(prompt_id)
        if promise["state"] != "pending":
            raise already(prompt_id, promise)
        prompt, now = _prompt(promise), self._clock()
        check_who(prompt_id, prompt, by, teams, since_ms=promise["createdAt"], now_ms=now)
        if len(why) > WHY_CHARS_MAX:
            raise BadArguments(f"why has at most {WHY_CHARS_MAX} characters, not {len(why)}")
        value = None if decline else validated(prompt, prompt_id, _plain(prompt_id, value))
        given = Given(by, value, decline, why, via, now)
        if prompt.needed() > 1:
            return await self._one_of_several(prompt_id, prompt, given)
        settlement = decide(prompt, [given])
        assert settlement is not None, "one answer decides"
        found, nonce = _settle(prompt_id, settlement)
        answer = await self._store.request("promise.settle", found)
        settled = answer.data["promise"]
        if Settlement.from_record(_value(settled)).nonce != nonce:
            raise already(prompt_id, settled)
        self._answered(settled, declined=decline)
        return True

    async def _one_of_several(self, prompt_id: str, prompt: Prompt, given: Given) -> bool:
        from capabilities.prompts.answer_rules import decide
        from capabilities.prompts.prompt import Settlement

        assert given.by is not None
        answer_id = f"{prompt_id}.{hashlib.sha256(given.by.encode()).hexdigest()[:32]}"
        nonce = uuid.uuid4().hex
        request: dict[str, Any] = {
            "prompt": prompt_id,
            "answer": {"id": answer_id, "timeoutAt": TIME_MAX_MS, "tags": _tags(answer_id, given.by)},
        }
        for _ in range(_TRIES_MAX):
            others = await self.answers(prompt_id)
            settlement = decide(prompt, [*others, given])
            settle = None if settlement is None else _settle(prompt_id, settlement)[0]
            request |= {"others": len(others), "settle": settle}
            request["value"] = {"data": pack({**_fields(given), "n": len(others), "nonce": nonce})}
            try:
                found = (await self._store.request("prompt.answer", request)).data
            except StoreRefused as refused:
                if refused.status != 409:
                    raise
                continue
            mine = found["answer"] is not None and unpack(found["answer"]).get("nonce") == nonce
            if mine:  # also when the request was sent twice
                if found["promise"]["state"] == "pending":
                    return False
                self._answered(found["promise"], declined=Settlement.from_record(_value(found["promise"])).declined)
                return True
            if found["promise"]["state"] != "pending":
                raise already(prompt_id, found["promise"])
            raise Conflict(f"{given.by} answered {prompt_id} already; it waits for others")
        raise Conflict(f"the answers to {prompt_id} change all the time; try again")

    def _answered(self, promise: dict[str, Any], *, declined: bool) -> None:
        """Tell that a question is settled."""
        if watching(self._observe):
            execution, tags = ids.execution_of(promise["id"]), promise.get("tags") or {}
            traceparent = tags.get(ids.TRACEPARENT, "")
            told = PromptAnswered(execution, promise["id"], declined, promise.get("createdAt") or 0, traceparent)
            self._observe(told)

    async def answers(self, prompt_id: str) -> list[Given]:
        """The answers to a question: who said what, when and through which channel, in order; settled or not."""
        from capabilities.prompts.prompt import Settlement

        found = (await self._store.request("call.list", {"execution": prompt_id})).data["promises"]
        several = sorted((_value(each) for each in found if each["state"] == "resolved"), key=lambda each: each["n"])
        given = [_given(each) for each in several]
        if not given:
            promise = await self.get(prompt_id)
            if promise["state"] == "resolved":
                settled = Settlement.from_record(_value(promise))
                at = settled.at or promise.get("settledAt") or 0
                given = [Given(settled.by, settled.value, settled.declined, settled.why, settled.via, at)]
        return given

    async def blocking(self, execution_id: str) -> list[str] | None:
        """Prompts that keep an execution waiting; None while it, or a child of it, can still go on by itself."""
        reads = self._store.reads
        row = await reads.get_execution(execution_id)
        if row is None or row.state != "waiting":
            return None
        prefix = ids.execution_promise(execution_id)
        prompts = [p.id for p in await reads.prompts() if p.id.startswith((f"{prefix}:", f"{prefix}."))]
        for link in await reads.children(execution_id):
            child = link.tags.get("durable:child")
            if child is not None and link.state == "pending":
                under = await self.blocking(child.removeprefix(ids.PREFIX))
                if under is None:
                    return None
                prompts += under
        return prompts or None


def _plain(prompt_id: str, value: Any) -> Any:
    try:
        return to_json(value, "the answer")
    except NotEncodable as error:
        raise InvalidAnswer(prompt_id, [{"loc": [], "msg": str(error)}]) from None


def _prompt(promise: dict[str, Any]) -> Prompt:
    from capabilities.prompts.prompt import read_prompt

    return read_prompt(unpack((promise.get("param") or {}).get("data")))


def _value(promise: dict[str, Any]) -> Any:
    return unpack((promise.get("value") or {}).get("data"))


def _settle(prompt_id: str, settlement: Settlement) -> tuple[dict[str, Any], str]:
    """The request that settles a question, and the nonce by which its echo is known as ours."""
    nonce = uuid.uuid4().hex
    record = settlement.model_copy(update={"nonce": nonce}).model_dump(mode="json")
    return {"id": prompt_id, "state": "resolved", "value": {"data": pack(record)}}, nonce


def _tags(answer_id: str, by: str) -> dict[str, str]:
    return {
        "resonate:scope": "local",
        "resonate:origin": ids.ORIGIN,
        "resonate:parent": ids.ORIGIN,
        "resonate:branch": answer_id,
        "durable:kind": "answer",
        "durable:name": by[:200],
    }


def _fields(given: Given) -> dict[str, Any]:
    return {name: getattr(given, name) for name in Given.__slots__}


def _given(found: Any) -> Given:
    return Given(**{name: found[name] for name in Given.__slots__ if name in found})


def already(prompt_id: str, promise: dict[str, Any]) -> Conflict:
    """Why a question that is settled cannot be answered: who answered it, or AnswerLate."""
    from capabilities.prompts.prompt import Settlement

    settlement = Settlement.from_record(_value(promise)) if promise["state"] == "resolved" else Settlement()
    state = state_of(promise["state"], declined=settlement.declined)
    if state is PromptState.EXPIRED:
        return AnswerLate(f"{prompt_id} passed its deadline; it cannot be answered any more")
    if state in (PromptState.CANCELLED, PromptState.REJECTED):
        return Conflict(f"{prompt_id} was cancelled; it cannot be answered any more")
    said = repr(settlement.value)
    shown = "" if _prompt(promise).secret else f" with {said if len(said) <= 200 else f'{said[:200]}…'}"
    how = "declined" if state is PromptState.DECLINED else f"answered{shown}"
    return Conflict(f"{prompt_id} was already {how}" + (f" by {settlement.by}" if settlement.by else ""))
