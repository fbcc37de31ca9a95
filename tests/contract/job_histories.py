"""Histories of the requests that engines make for their jobs, for the checker of `tests.contract.linearizability`.

A process writes a line as it asks and one as it is answered. One that is killed in between leaves the first alone:
what it asked for may have been done at any later moment, or never. Leases lapse at any time. A task that the store
acquires for an engine in a transaction about something else is a line when the engine is told; one that is killed
before it is told leaves none.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from durable.core.errors import StoreRefused
from durable.store.direct_store import DirectStore
from durable.store.sdk_connection import DirectConnection
from tests.contract.linearizability import Execution, Operation, linearizable, step_execution
from tests.contract.postgres_histories import shortened

CHECKED = ("promise.create", "promise.get", "promise.settle", "task.acquire", "task.release", "task.fulfill")
UNKNOWN = 0
"""The status of what was never answered."""
NEVER = 2**63 - 1


def record(folder: Path) -> None:
    """Write down what the stores of this process are asked from now on, as `history-<pid>` in a folder."""
    descriptor = os.open(folder / f"history-{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    enqueue = DirectStore.enqueue

    def recorded(self: DirectStore, kind: str, request: msgspec.Struct, **options: Any) -> Any:
        asked = list(_asked(kind, request))
        began = time.monotonic_ns()
        number = _write(descriptor, {"asked": asked, "began": began}) if asked else 0
        future = enqueue(self, kind, request, **options)
        if asked:
            future.add_done_callback(lambda done: _answered(descriptor, number, kind, done))
        return future

    DirectStore.enqueue = recorded  # type: ignore[method-assign]
    bound = DirectConnection.bound

    def told(self: DirectConnection, slots: Any, begin: Any) -> None:
        def begun(task_id: str, version: int, promise: Any, record: Any) -> None:
            number = _write(descriptor, {"asked": [(task_id, "task.acquire", version - 1)], "began": 0})
            _write(descriptor, {"n": -number, "ended": time.monotonic_ns(), "answers": [(200, version)]})
            begin(task_id, version, promise, record)

        bound(self, slots, begun)

    DirectConnection.bound = told  # type: ignore[method-assign]


_numbers = iter(range(1, NEVER))


def _write(descriptor: int, line: dict[str, Any]) -> int:
    number = line.setdefault("n", next(_numbers))
    os.write(descriptor, f"{json.dumps(line)}\n".encode())  # one write, so that a kill leaves whole lines
    return int(number)


def _asked(kind: str, request: Any) -> Iterable[tuple[str, str, Any]]:
    """The subject, kind and argument of what a request does to jobs and their steps."""
    if kind == "task.fence":
        yield request.id, kind, request.version
        yield from _asked(request.action.__struct_config__.tag, request.action.data)
    elif kind == "task.create":
        yield request.action.data.id, "promise.create", None
        yield request.action.data.id, "task.acquire", 0
    elif kind in CHECKED:
        yield request.id, kind, _argument(kind, request)


def _argument(kind: str, request: Any) -> Any:
    if kind == "task.fulfill":
        settled = request.action.data
        return [settled.state, _data(settled.value), request.version]
    if kind == "promise.settle":
        return [request.state, _data(request.value)]
    return request.version if kind.startswith("task.") else None


def _data(value: Any) -> str | None:
    found: str | None = None if value is None else value.data
    return found


def _answered(descriptor: int, number: int, kind: str, done: Any) -> None:
    error = None if done.cancelled() else done.exception()
    if done.cancelled() or (error is not None and not isinstance(error, StoreRefused)):
        return  # whether it was done is not known
    ended = time.monotonic_ns()
    if isinstance(error, StoreRefused):
        answers = [(error.status, None), (error.status, None)]
    elif kind == "task.create":
        created = done.result()
        task = (created.data.get("task") or {}).get("version")
        answers = [(200, shortened("promise.create", created.data)), (200, task) if task == 1 else (UNKNOWN, None)]
    elif kind == "task.fence":
        inner = done.result().data["action"]
        answers = [(200, None), (inner["head"]["status"], shortened(inner["kind"], inner["data"]))]
    else:
        answers = [(done.result().status, shortened(kind, done.result().data))]
    _write(descriptor, {"n": -number, "ended": ended, "answers": answers})


def read(folder: Path) -> dict[str, list[Operation]]:
    """The operations of each job and each step."""
    subjects: dict[str, list[Operation]] = defaultdict(list)
    for client, path in enumerate(sorted(folder.glob("history-*"))):
        lines = [json.loads(text) for text in path.read_text().splitlines()]
        answers = {-line["n"]: line for line in lines if "answers" in line}
        for line in lines:
            if "asked" not in line:
                continue
            back = answers.get(line["n"])
            for place, (subject, kind, argument) in enumerate(line["asked"]):
                status, answer = (UNKNOWN, None) if back is None else back["answers"][place]
                if place and status == 409:
                    continue  # the fence kept it away
                ended = NEVER if back is None else back["ended"]
                op = Operation(client, subject, kind, argument, status, answer, line["began"], ended)
                subjects[subject].append(op)
    return subjects


def step_job(found: Execution | None, op: Operation) -> set[Execution | None]:
    """The states after a request, where leases lapse whenever they do, and what was not answered may not be done."""
    before = {found}
    if found is not None and found.task == "acquired":
        before.add(found._replace(task="pending"))
    if found is not None and found.task == "pending":  # acquired for an engine that was killed before it was told
        before.add(found._replace(version=found.version + 1))
    after = {each for state in before for known in _outcomes(op) for each in step_execution(state, known)}
    return after | before if op.status == UNKNOWN else after


def _outcomes(op: Operation) -> list[Operation]:
    if op.status != UNKNOWN:
        return [op]
    done = op._replace(status=200)
    match op.kind:
        case "promise.create":
            return [done._replace(answer=["pending", None])]
        case "promise.settle" | "task.fulfill":
            return [done._replace(answer=op.argument[:2])]
        case "task.acquire":
            return [done._replace(answer=op.argument + 1)]
        case "promise.get":
            return []
    return [done]


def check(folder: Path) -> tuple[int, list[str]]:
    """How many operations were looked at, and the subjects whose answers fit no order."""
    subjects = {name: ops for name, ops in read(folder).items() if name.startswith("exec:job-")}
    wrong = [name for name, ops in subjects.items() if not linearizable(ops, step_job)]
    return sum(map(len, subjects.values())), wrong
