"""Compares a store with the oracle: one stream to both, every answer and now and then the whole state.

A difference is shrunk to few operations before it is told, with the seed that repeats it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from .mail import MAIL_S, Mail
from .oracle import Answer, Oracle
from .stream import START_MS, Coverage, Operation, Stream
from .wire import Json

SHRINK_MAIL_S = 0.5
"""How long a message may take while shrinking."""

SHRINK_RUNS_MAX = 400
"""Repetitions spent on making a failing stream smaller."""


class Subject(Protocol):
    """What is compared: something that answers requests and was opened for debugging."""

    async def request(self, kind: str, data: Json) -> Answer:
        """A status and its data; at 400 and more the data is not compared."""
        ...

    async def connect(self, receive: Callable[[str, str], None]) -> None:
        """Connect engines p1 and p2 of group g; `receive` gets (unicast address, message as JSON)."""
        ...


@dataclass(slots=True)
class SetClock:
    """The subject's clock: it shows what the stream says."""

    now_ms: int = START_MS

    def __call__(self) -> int:
        return self.now_ms


type Opening = Callable[[SetClock], AbstractAsyncContextManager[Subject]]
"""Opens a new, empty subject on a clock, and closes it."""


NOT_SENT: Answer = (0, {})
"""In the place of an answer when an earlier one already differs."""


class Difference(AssertionError):
    """The subject and the oracle disagree."""


class Pair:
    """The oracle and a subject, given the same operations."""

    def __init__(
        self, oracle: Oracle, subject: Subject, clock: SetClock, patience_s: float = MAIL_S, burst: int = 1
    ) -> None:
        self._oracle = oracle
        self._subject = subject
        self._clock = clock
        self._burst_max = burst
        self._burst: list[tuple[Operation, Answer, asyncio.Task[Answer]]] = []
        self.mail = Mail(oracle, patience_s)
        self._pages: dict[str, tuple[Json, Json]] = {}

    async def step(self, operation: Operation) -> tuple[Answer, str | None]:
        """Apply one operation to both: the oracle's answer, and in what an answer of the subject differs.

        The subject is sent up to `burst` operations of one moment before it is waited for.
        """
        alone = operation.continues or operation.kind.startswith("debug.")
        full = len(self._burst) >= self._burst_max
        if alone or full or operation.now_ms != self._clock.now_ms:
            earlier = await self.flush()
            if earlier is not None:
                return NOT_SENT, earlier
        self._clock.now_ms = operation.now_ms
        if operation.kind == "debug.reset":
            self.mail.clear()
        none: tuple[Json, Json] = ({}, {})
        ours, theirs = self._pages.pop(operation.kind, none) if operation.continues else none
        expected = self._oracle.request(operation.kind, operation.data | ours, operation.now_ms)
        self.mail.owe(operation.data["time"] if operation.kind == "debug.tick" else operation.now_ms)
        sent = asyncio.ensure_future(self._subject.request(operation.kind, operation.data | theirs))
        self._burst.append((operation, expected, sent))
        return expected, await self.flush() if alone else None

    async def flush(self) -> str | None:
        """Wait for all answers: the first that differs."""
        burst, self._burst = self._burst, []
        differences: list[str] = []
        for operation, expected, sent in burst:
            actual = await sent
            if _has_cursor(expected) and _has_cursor(actual):
                self._pages[operation.kind] = (_cursor(expected), _cursor(actual))
            told, found = comparable(operation.kind, expected), comparable(operation.kind, actual)
            if told != found:
                differences.append(f"{operation.kind}: expected {_text(told)}\n     got {_text(found)}")
        return differences[0] if differences else None

    async def states(self) -> str | None:
        """In what the subject's whole state differs from the oracle's, or what it has pushed."""
        difference = await self.flush()
        if difference is not None:
            return difference
        now = self._clock.now_ms
        _, expected = self._oracle.request("debug.snap", {}, now)
        _, actual = await self._subject.request("debug.snap", {})
        assert isinstance(expected, dict)
        assert isinstance(actual, dict)
        told, found = _state(expected, now), _state(actual, now)
        lines = [
            f"{part}: {sign} {key}"
            for part in told
            for sign, keys in (("missing", told[part] - found[part]), ("surplus", found[part] - told[part]))
            for key in sorted(keys)
        ]
        return "\n".join(lines) or await self.mail.difference()


async def compare(
    opening: Opening, seed: int, operations: int, every: int, *, patience_s: float = MAIL_S, burst: int = 1
) -> Coverage:
    """Run a stream; state and messages are compared every `every` operations and after each tick. Raises Difference.

    A message that is owed may take `patience_s`. Up to `burst` operations are on their way at a time; the subject
    has to answer them in order.
    """
    oracle, clock = Oracle(), SetClock()
    stream, coverage = Stream(seed, oracle), Coverage()
    segment: list[Operation] = []
    ticked = False
    async with opening(clock) as subject:
        pair = Pair(oracle, subject, clock, patience_s, burst)
        await subject.connect(pair.mail.receive)
        for number in range(operations):
            operation = stream.next()
            resets = operation.kind == "debug.reset"
            looks = resets or ticked or number % every == every - 1
            difference = await pair.states() if looks else None
            ticked = operation.kind == "debug.tick"
            if difference is None:
                segment = [] if resets else [*segment, operation]
                answer, difference = await pair.step(operation)
            if difference is not None:
                break
            stream.heard(operation, answer)
            coverage.add(operation, answer)
        else:
            number, difference = operations, await pair.states()
    if difference is not None:
        fewer, difference = await _shrink(opening, segment, difference, min(patience_s, SHRINK_MAIL_S))
        raise Difference(_story(seed, number, fewer, difference))
    return coverage


async def replay(opening: Opening, operations: Sequence[Operation], patience_s: float = MAIL_S) -> str | None:
    """Run operations on a new subject: the first difference in an answer, or in the state after each."""
    clock = SetClock()
    async with opening(clock) as subject:
        pair = Pair(Oracle(), subject, clock, patience_s)
        await subject.connect(pair.mail.receive)
        for operation in operations:
            _, difference = await pair.step(operation)
            difference = difference or await pair.states()
            if difference is not None:
                return f"after {operation.kind} at {operation.now_ms}: {difference}"
    return None


async def _shrink(
    opening: Opening, segment: list[Operation], difference: str, patience_s: float
) -> tuple[list[Operation], str]:
    """Leave out operations as long as some difference remains."""
    size, runs = max(1, len(segment) // 2), 0
    while size >= 1 and runs < SHRINK_RUNS_MAX:
        start = 0
        while start < len(segment) and runs < SHRINK_RUNS_MAX:
            fewer = segment[:start] + segment[start + size :]
            runs += 1
            found = await replay(opening, fewer, patience_s)
            if found is None:
                start += size
            else:
                segment, difference = fewer, found
        size //= 2
    return segment, difference


def comparable(kind: str, answer: Answer) -> object:
    """What of an answer is compared."""
    status, data = answer
    if status >= 400 or not isinstance(data, dict) or kind.startswith("debug."):
        return status
    kept: Json = {name: _plain(value) for name, value in data.items()}
    if isinstance(kept.get("preload"), list):
        kept["preload"] = sorted(kept["preload"], key=_text)
    if "cursor" in kept:
        kept["cursor"] = kept["cursor"] is not None
    if isinstance(kept.get("action"), dict):
        kept["action"]["head"] = kept["action"].get("head", {}).get("status")
        if isinstance(kept["action"].get("data"), str):
            del kept["action"]["data"]  # the text of a refusal
    return [status, {name: value for name, value in kept.items() if value is not False and value is not None}]


def _plain(value: object) -> object:
    """A record without what is absent: null fields, empty params, values and tags."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items() if inner is not None and inner != {}}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _state(snapshot: Json, now: int) -> dict[str, set[str]]:
    """The parts of a snapshot as sets of JSON texts.

    A store need not write down that a promise is past its deadline when nobody can wait for it; readers see it.
    """
    parts = {name: snapshot[name] for name in ("promises", "tasks", "callbacks", "listeners")}
    parts["promises"] = [_seen(record, now) for record in snapshot["promises"]]
    return {name: {_text(_plain(record)) for record in records} for name, records in parts.items()}


def _seen(record: Json, now: int) -> Json:
    held = {name: record["tags"].get(f"resonate:{name}") for name in ("target", "timer", "external", "scope")}
    waited_for = held["target"] or "true" in (held["timer"], held["external"]) or held["scope"] == "global"
    if record["state"] != "pending" or record["timeoutAt"] > now or waited_for:
        return record
    return record | {"state": "rejected_timedout", "settledAt": record["timeoutAt"]}


def _has_cursor(answer: Answer) -> bool:
    return bool(_cursor(answer))


def _cursor(answer: Answer) -> Json:
    data = answer[1]
    return {"cursor": data["cursor"]} if isinstance(data, dict) and data.get("cursor") is not None else {}


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _story(seed: int, number: int, operations: list[Operation], difference: str) -> str:
    lines = [f"seed {seed}, operation {number}; these {len(operations)} from an empty store differ too:"]
    for operation in operations:
        marks = " continued" if operation.continues else ""
        lines.append(f"  {operation.now_ms - START_MS:+d} {operation.kind} {_text(operation.data)}{marks}")
    return "\n".join([*lines, difference])
