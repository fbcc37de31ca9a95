"""The floor: resonate-sdk on a store that keeps nothing durable and answers at once, from a dict."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from resonate.context import Context
from resonate.resonate import Resonate
from resonate_base import PROTOCOL_VERSION

from benchmarks.turns import Ready, at_concurrency, serve

CONCURRENCY = 64

type Record = dict[str, Any]


class NullStore:
    """A Network and a Source that does the least which the SDK needs to run one engine's functions."""

    def __init__(self) -> None:
        self._promises: dict[str, Record] = {}
        self._listened: set[str] = set()
        self._receivers: list[Callable[[str], None]] = []

    def unicast(self) -> str:
        return "null://uni"

    def resolve_target(self, target: str) -> str:
        return f"null://any@{target}"

    def recv(self, callback: Callable[[str], None]) -> None:
        self._receivers.append(callback)

    async def start(self) -> None:
        """Nothing to connect to."""

    async def stop(self) -> None:
        """Nothing to disconnect from."""

    async def send(self, req: str, headers: dict[str, str] | None = None) -> str:  # noqa: ARG002 - nothing to route
        request = msgspec.json.decode(req)
        kind, head = request["kind"], request["head"]
        data = self._answer(kind, request["data"])
        answer_head = {"corrId": head["corrId"], "status": 200, "version": PROTOCOL_VERSION}
        return msgspec.json.encode({"kind": kind, "head": answer_head, "data": data}).decode()

    def _answer(self, kind: str, data: Record) -> Record:
        match kind:
            case "task.create":
                promise = self._create(data["action"]["data"])
                task = {"id": promise["id"], "state": "acquired", "version": 1, "resumes": 0}
                return {"task": task, "promise": promise, "preload": []}
            case "task.fence":
                action = data["action"]
                act = self._create if action["kind"] == "promise.create" else self._settle
                answer = {"kind": action["kind"], "head": {"status": 200}, "data": {"promise": act(action["data"])}}
                return {"action": answer, "preload": []}
            case "task.fulfill":
                return {"promise": self._fulfill(data["action"]["data"])}
            case "promise.register_listener":
                self._listened.add(data["awaited"])
                return {"promise": self._promises[data["awaited"]]}
            case "task.heartbeat":
                return {}
        raise NotImplementedError(kind)

    def _create(self, data: Record) -> Record:
        record = {**data, "state": "pending", "value": {}, "createdAt": 0}
        return self._promises.setdefault(data["id"], record)

    def _settle(self, data: Record) -> Record:
        record = self._promises[data["id"]]
        record.update(state=data["state"], value=data["value"], settledAt=0)
        return record

    def _fulfill(self, data: Record) -> Record:
        record = self._settle(data)
        if record["id"] in self._listened:
            push = msgspec.json.encode({"kind": "unblock", "head": {}, "data": {"promise": record}}).decode()
            for receiver in self._receivers:
                receiver(push)
        return record


async def step(_ctx: Context, number: int) -> int:
    return number + 1


async def timed_steps(ctx: Context, count: int) -> list[float]:
    samples = []
    for number in range(count):
        started = time.perf_counter()
        await ctx.run(step, number)
        samples.append(time.perf_counter() - started)
    return samples


async def one_step(ctx: Context, number: int) -> int:
    return await ctx.run(step, number)


@asynccontextmanager
async def setup(_directory: Path) -> AsyncIterator[Ready]:
    store = NullStore()
    resonate = Resonate(network=store, sources=[store], env={}, autostart=False)
    timed, one = resonate.register(timed_steps), resonate.register(one_step)
    resonate.start()

    async def steps(size: int) -> list[float]:
        return list(await resonate.run(uuid.uuid4().hex, timed, size).result())

    async def run_one(number: int) -> None:
        assert await resonate.run(uuid.uuid4().hex, one, number).result() == number + 1

    async def executions(size: int) -> list[float]:
        started = time.perf_counter()
        await at_concurrency(CONCURRENCY, size, run_one)
        return [size / (time.perf_counter() - started)]

    try:
        yield Ready(
            f"resonate-sdk {version('resonate-sdk')} on a null store", {"steps": steps, "executions": executions}
        )
    finally:
        await resonate.stop()


if __name__ == "__main__":
    serve(setup)
