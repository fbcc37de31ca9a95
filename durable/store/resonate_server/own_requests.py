"""Our own requests on a Resonate server: those that promises and tasks can stand in for, and the names of the others.

specs/resonate-server.md, R4-R7.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from durable.core.errors import DurableError, StoreLacks, StoreRefused
from durable.core.limits import LEASE_MS, OUTSIDE_TASKS_MAX
from durable.store.operations.attempts import Attempts, after_attempt, lost_value, rejection
from durable.store.operations.leases import Held
from durable.store.protocol.requests import Answer, ExecutionCancel, TaskFail
from durable.store.resonate_server.execution_walk import Get, walk

LACKING = {
    "session": "sessions",
    "cell": "sessions",
    "checkpoint": "checkpoints",
    "chunk": "checkpoints",
    "output": "stored output",
    "call": "journal of calls that code makes",
    "policy": "permissions of sessions",
    "audit": "audit",
    "kv": "key-value store of code",
    "signal": "signals",
    "prompt": "questions that several persons answer",
    "function": "aliases of functions",
    "queue": "queues",
    "deployment": "deployments",
    "schedule": "schedules that are paused, made up for, or told what to do while an execution goes on",
    "sweep": "retention of ours",
    "execution": "import of executions",
}
"""The thing that a Resonate server lacks, by the first word of our request for it."""

type Ask = Callable[[str, Mapping[str, object]], Awaitable[Answer]]


@dataclass(slots=True)
class _Attempts:
    """Attempts at a task without progress: counted in this process, since tasks of the protocol count none."""

    failed: int = 0
    recorded: int = 0
    returned: int = 0


class OwnRequests:
    """The requests of ours that a Resonate server can be asked for by others."""

    def __init__(self, url: str, ask: Ask, get: Get, halted: Callable[[str, str], None]) -> None:
        self._url = url
        self._ask = ask
        self._get = get
        self._halted = halted
        self._attempts: dict[str, _Attempts] = {}
        self._releases: set[asyncio.Task[None]] = set()
        self.held: Held | None = None
        """The tasks that the engine of this process runs."""
        self._requests: dict[str, Callable[[Mapping[str, Any]], Awaitable[Answer]]] = {
            "task.fail": self._fail,
            "task.halt": self._halt,
            "task.suspend": self._suspend,
            "call.list": self._list,
            "execution.cancel": self._cancel,
            "execution.source": self._nothing,
            "engine.join": self._nothing,
            "engine.serve": self._nothing,
            "engine.leave": self._leave,
            "engine.list": self._nothing,
        }

    async def request(self, kind: str, data: Mapping[str, Any]) -> Answer:
        """The answer to one of our requests. StoreLacks, StoreRefused, StoreError, EngineClosed."""
        known = self._requests.get(kind)
        if known is None:
            raise StoreLacks(self._url, LACKING.get(kind.partition(".")[0], kind))
        return await known(data)

    def __contains__(self, kind: str) -> bool:
        return kind in self._requests

    async def close(self) -> None:
        """Wait for nothing more."""
        for task in [*self._releases]:
            task.cancel()
        if self._releases:
            await asyncio.wait(self._releases)

    async def _nothing(self, _data: Mapping[str, Any]) -> Answer:
        """The server knows no engines: whoever listens in a group gets its tasks."""
        return Answer(HTTPStatus.OK, {"engines": [], "noted": False})

    async def _suspend(self, data: Mapping[str, Any]) -> Answer:
        plain = {name: data[name] for name in ("id", "version", "actions")}
        self._attempts.pop(str(data["id"]), None)
        return await self._ask("task.suspend", plain)

    async def _halt(self, data: Mapping[str, Any]) -> Answer:
        """The protocol halts a task whoever holds it, and keeps no note."""
        task_id, version = str(data["id"]), data.get("version")
        if version is not None:
            await self._still_ours(task_id, version)
        answer = await self._ask("task.halt", {"id": task_id})
        self._halted(task_id, str(data.get("note") or ""))
        return answer

    async def _still_ours(self, task_id: str, version: int) -> None:
        task = (await self._ask("task.get", {"id": task_id})).data["task"]
        if (task["state"], task["version"]) != ("acquired", version):
            raise StoreRefused("task.get", HTTPStatus.CONFLICT, f"task {task_id!r} is not held in version {version}")

    async def _list(self, data: Mapping[str, Any]) -> Answer:
        """Everything under an execution at once: there are no pages to ask for."""
        if data.get("after"):
            return Answer(HTTPStatus.OK, {"promises": []})
        return Answer(HTTPStatus.OK, {"promises": await walk(self._get, str(data["execution"]))})

    async def _cancel(self, data: Mapping[str, Any]) -> Answer:
        """There is no time for a clean-up: the protocol ends a task with its promise."""
        wish = msgspec.convert(dict(data), ExecutionCancel)
        before = await self._get(wish.id)
        if before is None:
            raise StoreRefused("execution.cancel", HTTPStatus.NOT_FOUND, f"promise {wish.id!r} does not exist")
        settle = {
            "id": wish.id,
            "state": "rejected_canceled",
            "value": {"data": rejection(wish.reason or "cancelled")},
        }
        promise = (await self._ask("promise.settle", settle)).data["promise"]
        ended = before["state"] == "pending" and promise["state"] == "rejected_canceled"
        return Answer(HTTPStatus.OK, {"promise": promise, "cancelled": ended})

    async def _leave(self, _data: Mapping[str, Any]) -> Answer:
        """Give back what this engine runs: others have it at once."""
        held = self.held.versions() if self.held is not None else {}
        releases = (self._release(task_id, version, 0.0) for task_id, version in held.items())
        await asyncio.gather(*releases)
        return Answer(HTTPStatus.OK, {})

    # -- attempts -------------------------------------------------------------------------------------------------

    async def _fail(self, data: Mapping[str, Any]) -> Answer:
        """An attempt without an outcome: another one after a delay, or the end."""
        request = msgspec.convert(dict(data), TaskFail)
        await self._still_ours(request.id, request.version)
        while len(self._attempts) >= OUTSIDE_TASKS_MAX:
            del self._attempts[next(iter(self._attempts))]
        known = self._attempts.setdefault(request.id, _Attempts())
        outcome = await self._counted(known, request)
        if outcome.lost:
            value = {"data": lost_value(request.id, outcome.failed, request.error)}
            settle = {"id": request.id, "state": "rejected", "value": value}
            action = {"kind": "promise.settle", "head": {}, "data": settle}
            self._attempts.pop(request.id, None)
            return await self._ask("task.fulfill", {"id": request.id, "version": request.version, "action": action})
        if outcome.delay_ms < LEASE_MS:  # else its lease runs out, and nobody has to wait for it here
            release = asyncio.create_task(self._release(request.id, request.version, outcome.delay_ms / 1000))
            self._releases.add(release)
            release.add_done_callback(self._releases.discard)
        return Answer(HTTPStatus.OK, {})

    async def _counted(self, known: _Attempts, request: TaskFail) -> Attempts:
        if request.cause == "returned":
            known.returned += 1
            first = after_attempt(known.failed, 0, progress=False, cause="returned")
            return first._replace(delay_ms=first.delay_ms << min(known.returned - 1, 16))
        recorded = len(await walk(self._get, request.id))
        outcome = after_attempt(known.failed, 0, progress=recorded > known.recorded, cause="failed")
        known.failed, known.recorded = outcome.failed, recorded
        return outcome

    async def _release(self, task_id: str, version: int, delay_s: float) -> None:
        if delay_s:
            await asyncio.sleep(delay_s)
        try:
            await self._ask("task.release", {"id": task_id, "version": version})
        except DurableError:
            pass  # it is another's by now, or its lease runs out


def was_lost(value: Any) -> bool:
    """Whether a rejection says that its execution was given up: the protocol has no state for that."""
    message = value.get("message") if isinstance(value, dict) else None
    return isinstance(message, str) and '"exception_type":"durable.ExecutionLost"' in message
