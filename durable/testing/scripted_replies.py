"""The answers, signals and values that a test gives where a function waits for them (specs/testing.md)."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from durable.core import ids
from durable.core.durations import seconds
from durable.functions.signal_methods import SIGNAL

if TYPE_CHECKING:
    from durable.engine.engine import Engine
    from durable.prompts.open_prompt import OpenPrompt
    from durable.store.rows import PromiseRow


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply to a question, a signal or a promise, where the value alone does not say it.

    value: as `engine.answer`, `engine.signal` and `engine.settle` take it. after: seconds or timedelta of fake time
    since it was asked. by: who answers. decline, why: of a question. error: text with which a promise fails.
    """

    value: Any = None
    after: float | timedelta = 0.0
    by: str | None = None
    decline: bool = False
    why: str = ""
    error: str | None = None


class InTurn:
    """Values for one question, signal or promise after another; each may be a Reply. The last is followed by none."""

    def __init__(self, *values: Any) -> None:
        self.values = list(values)


class Unanswered:
    """The value of what stays open: it times out, or the test brings it itself."""


type Scripted = Any
"""A value, a Reply, a list of Replies (one for each person), InTurn, Unanswered, or a callable that returns one."""


@dataclass(frozen=True, slots=True)
class OpenWait:
    """Something that a function waits for and others bring: a question, a signal, a promise."""

    id: str
    kind: str
    name: str
    """A question's text, a signal's name, a promise's id."""
    execution: str
    created_at: int
    given: Any
    """The argument of a callable of the script: an OpenPrompt, or the id of the execution or of the promise."""


@dataclass
class ScriptedReplies:
    """The replies of one engine's test. Plans are made once for each wait, when it is first seen open."""

    answers: Mapping[str, Scripted] | Callable[[OpenPrompt], Scripted] = field(default_factory=dict)
    signals: Mapping[str, Scripted] = field(default_factory=dict)
    promises: Scripted = field(default_factory=Unanswered)
    _plans: dict[str, list[tuple[int, Reply]]] = field(default_factory=dict)

    async def act(self, engine: Engine, now_ms: int) -> tuple[bool, int | None]:
        """Bring what is due now; whether that was anything, and otherwise when the next of it is."""
        times = []
        for wait in await open_waits(engine, others=bool(self.signals) or not isinstance(self.promises, Unanswered)):
            plan = self._plans.get(wait.id)
            if plan is None:
                plan = self._plans[wait.id] = self._plan(wait)
            if plan and plan[0][0] <= now_ms:
                await _bring(engine, wait, plan.pop(0)[1])
                return True, None
            if plan:
                times.append(plan[0][0])
        return False, min(times, default=None)

    def _plan(self, wait: OpenWait) -> list[tuple[int, Reply]]:
        scripted = self._scripted(wait)
        while callable(scripted) or isinstance(scripted, InTurn):
            if isinstance(scripted, InTurn):
                scripted = scripted.values.pop(0) if scripted.values else Unanswered()
            else:
                scripted = scripted(wait.given)
        if isinstance(scripted, Unanswered):
            return []
        several = isinstance(scripted, list) and scripted and all(isinstance(each, Reply) for each in scripted)
        replies = scripted if several else [scripted if isinstance(scripted, Reply) else Reply(scripted)]
        plan = [(wait.created_at + int((seconds(each.after) or 0.0) * 1000), each) for each in replies]
        return sorted(plan, key=lambda each: each[0])

    def _scripted(self, wait: OpenWait) -> Scripted:
        if wait.kind == "promise":
            return self.promises
        scripted = self.answers if wait.kind == "question" else self.signals
        if not isinstance(scripted, Mapping):
            return scripted
        for pattern in (wait.name, wait.id):
            if pattern in scripted:
                return scripted[pattern]
        matching = (value for pattern, value in scripted.items() if fnmatch.fnmatchcase(wait.name, pattern))
        return next(matching, Unanswered())


async def open_waits(engine: Engine, *, others: bool) -> list[OpenWait]:
    """The open questions, and with `others` the signals and promises that functions wait for, in order of place."""
    found = [
        OpenWait(each.id, "question", each.question, each.execution, each.created_at, each)
        for each in await engine.prompts()
    ]
    if others:
        for row in await engine.executions(state="waiting", limit=10_000):
            children = await engine.store.reads.children(row.id)
            found += filter(None, (_outside(row.id, child) for child in children))
    return found


def _outside(execution: str, promise: PromiseRow) -> OpenWait | None:
    if promise.state != "pending":
        return None
    if SIGNAL in promise.tags:
        return OpenWait(promise.id, "signal", promise.tags[SIGNAL], execution, promise.created_at, execution)
    if promise.tags.get("durable:kind") == "promise":
        return OpenWait(promise.id, "promise", promise.id, execution, promise.created_at, promise.id)
    return None


async def _bring(engine: Engine, wait: OpenWait, reply: Reply) -> None:
    if wait.kind == "question":
        value = None if reply.decline else reply.value
        await engine.answer(wait.id, value, by=reply.by, decline=reply.decline, why=reply.why, via="test")
    elif wait.kind == "signal":
        await engine.signal(wait.execution.removeprefix(ids.PREFIX), wait.name, reply.value, key=f"script {wait.id}")
    else:
        await engine.settle(wait.id, reply.value, error=reply.error)
