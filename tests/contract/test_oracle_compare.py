"""The comparison itself: equal subjects pass, and a subject that breaks one rule is found and told with its seed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from .compare import Difference, Opening, SetClock, Subject, compare
from .oracle import Answer, Oracle
from .wire import Json

SEED = 7


class OracleSubject:
    """The oracle in the place of the store."""

    def __init__(self, clock: SetClock) -> None:
        self.oracle = Oracle()
        self.clock = clock

    async def connect(self, receive: Callable[[str, str], None]) -> None:
        self.receive = receive

    async def request(self, kind: str, data: Json) -> Answer:
        answer = self.oracle.request(kind, data, self.clock())
        for address, message in self.oracle.pushed:
            self.push(address, message)
        return answer

    def push(self, address: str, message: Json) -> None:
        """To the engine of a unicast address, to p1 for a group."""
        self.receive(address if address.startswith("poll://uni@") else "poll://uni@g/p1", json.dumps(message))


class Forgetful(OracleSubject):
    """Releases without giving the task up: it answers rightly and holds a wrong state."""

    async def request(self, kind: str, data: Json) -> Answer:
        if kind == "task.release" and await self._held(data):
            return 200, {}
        return await super().request(kind, data)

    async def _held(self, data: Json) -> bool:
        beat = await super().request("task.get", {"id": data.get("id")})
        task = beat[1]["task"] if isinstance(beat[1], dict) else {}
        return (task.get("state"), task.get("version")) == ("acquired", data.get("version"))


class Silent(OracleSubject):
    """Wakes or continues a task that has run before, and tells nobody."""

    def push(self, address: str, message: Json) -> None:
        if message["kind"] == "unblock" or message["data"]["task"]["version"] == 0:
            super().push(address, message)


class Talkative(OracleSubject):
    """Tells listeners twice."""

    def push(self, address: str, message: Json) -> None:
        super().push(address, message)
        if message["kind"] == "unblock":
            super().push(address, message)


class Careless(OracleSubject):
    """Does not look at versions when it acquires."""

    async def request(self, kind: str, data: Json) -> Answer:
        task = self.oracle.tasks.get(str(data.get("id")))
        if kind == "task.acquire" and task is not None and isinstance(data.get("version"), int):
            data = data | {"version": task.version}
        return await super().request(kind, data)


def opening_of(subject: type[OracleSubject]) -> Opening:
    @asynccontextmanager
    async def opening(clock: SetClock) -> AsyncIterator[Subject]:
        yield subject(clock)

    return opening


async def test_the_oracle_equals_itself() -> None:
    coverage = await compare(opening_of(OracleSubject), SEED, 10_000, every=100)
    assert coverage.missing() == []


@pytest.mark.parametrize(
    ("subject", "culprit", "part"),
    [
        (Forgetful, "task.release", "tasks: missing"),
        (Careless, "task.acquire", "got [200"),
        (Talkative, "promise.register_listener", "pushed without reason"),
        (Silent, "task.", "not pushed: execute"),
    ],
)
async def test_a_broken_rule_is_found_and_shrunk(subject: type[OracleSubject], culprit: str, part: str) -> None:
    with pytest.raises(Difference) as found:
        await compare(opening_of(subject), SEED, 5_000, every=25, patience_s=0.01)
    story = str(found.value)
    assert story.startswith(f"seed {SEED}, operation ")
    assert culprit in story
    assert part in story
    assert story.count("\n  +") <= 6
