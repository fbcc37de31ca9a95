"""The oracle under random streams: its invariants hold, and every kind reaches each of its status codes."""

from __future__ import annotations

import copy

from .oracle import Oracle
from .stream import Coverage, Operation, Stream
from .wire import Json, origin_of

SEED = 20_261_120


def check(oracle: Oracle) -> None:
    """The numbered invariants of README.md that one state shows."""
    assert {p.id for p in oracle.promises.values() if p.target is not None} == set(oracle.tasks), "1"
    suspended = {task.id for task in oracle.tasks.values() if task.state == "suspended"}
    for task in oracle.tasks.values():
        assert (task.state == "fulfilled") == (oracle.promises[task.id].state != "pending"), "1"
        assert all(
            (extra is not None) == (task.state == "acquired") for extra in (task.ttl, task.pid, task.lease_until)
        ), "7"
        assert task.resumes == 0 or task.state in ("pending", "acquired", "halted"), "7"
    for awaited, awaiter in oracle.callbacks:
        assert oracle.promises[awaited].state == "pending", "4"
        assert oracle.promises[awaited].external, "4"
        assert oracle.tasks[awaiter].state != "fulfilled", "4"
        assert origin_of(awaited) == origin_of(awaiter), "4"
    for awaited, _ in oracle.listeners:
        assert oracle.promises[awaited].state == "pending", "5"
        assert oracle.promises[awaited].external, "5"
    assert suspended <= {awaiter for _, awaiter in oracle.callbacks}, "6"


def check_step(operation: Operation, before: Oracle, after: Oracle) -> None:
    """The numbered invariants of README.md that a step shows."""
    for promise_id, promise in before.promises.items():
        assert promise.state == "pending" or after.promises[promise_id] == promise, "2"
    for task_id, task in before.tasks.items():
        grown = after.tasks[task_id].version - task.version
        assert grown in ((0, 1) if operation.kind in ("task.acquire", "task.create") else (0,)), "3"


def follow(oracle: Oracle, operation: Operation, cursors: dict[str, str]) -> tuple[int, Json | str]:
    """Apply an operation, with the cursor of the page that it continues."""
    data = operation.data
    if operation.continues:
        data = data | {"cursor": cursors.pop(operation.kind)}
    answer = oracle.request(operation.kind, data, operation.now_ms)
    if answer[0] == 200 and isinstance(answer[1], dict) and "cursor" in answer[1]:
        cursors[operation.kind] = answer[1]["cursor"]
    return answer


def test_invariants_hold_after_every_operation() -> None:
    oracle = Oracle()
    stream = Stream(SEED, oracle)
    cursors: dict[str, str] = {}
    for _ in range(3_000):
        operation = stream.next()
        before = copy.deepcopy(oracle.promises), copy.deepcopy(oracle.tasks)
        answer = follow(oracle, operation, cursors)
        stream.heard(operation, answer)
        check(oracle)
        if operation.kind != "debug.reset":
            earlier = Oracle()
            earlier.promises, earlier.tasks = before
            check_step(operation, earlier, oracle)


def test_a_stream_reaches_every_kind_with_each_of_its_status_codes() -> None:
    oracle = Oracle()
    stream = Stream(SEED, oracle)
    coverage = Coverage()
    cursors: dict[str, str] = {}
    for _ in range(20_000):
        operation = stream.next()
        answer = follow(oracle, operation, cursors)
        stream.heard(operation, answer)
        coverage.add(operation, answer)
    assert coverage.missing() == []
    assert coverage.unexpected() == []
    reasons = {reason for _, _, reason in coverage.reached}
    for state in ("pending", "suspended", "halted", "fulfilled"):
        assert f"a held task is needed, it is {state}" in reasons
    assert {"another version", "awaited twice", "awaits itself", "no such awaited", "bad cursor", "bad cron"} <= reasons


def test_the_same_seed_gives_the_same_stream() -> None:
    def draw() -> list[Operation]:
        oracle = Oracle()
        stream = Stream(SEED, oracle)
        cursors: dict[str, str] = {}
        operations: list[Operation] = []
        for _ in range(500):
            operations.append(stream.next())
            stream.heard(operations[-1], follow(oracle, operations[-1], cursors))
        return operations

    assert draw() == draw()
