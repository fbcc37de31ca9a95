"""Are the answers those of one store that does one thing at a time? `python -m tests.contract.linearizability`.

Random requests of several clients (`postgres_clients`) are answered by a database while connections are cut, or while
a fault of `tests.e2e.database_faults` is at work. Their history is checked against models of a promise with its task,
and of a session's epochs and numbers: an order of all requests is looked for in which each is done at one moment
between its question and its answer (Wing and Gong's search with Lowe's memory, as in porcupine). `--export FILE` writes
the history as JSON lines with the fields of porcupine's Operation, for that checker.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import random
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.contract.postgres_clients import campaign
from tests.contract.postgres_histories import Line
from tests.e2e.database_faults import FAULTS, Fault
from tests.postgres_server import PostgresServer

type States = frozenset[Any]
"""All states in which the subject may be: some steps leave more than one."""


class Operation(NamedTuple):
    """A request: what it was, what came of it, and the moments of its question and its answer (ns)."""

    client: int
    subject: str
    kind: str
    argument: Any
    status: int
    answer: Any
    call: int
    back: int


class Execution(NamedTuple):
    """A promise with its task."""

    state: str = "pending"
    value: str | None = None
    task: str = "pending"
    version: int = 0
    holder: int | None = None
    """The client that acquired the task last."""


LOST = "given up"
"""The value of what was given up after its attempts: the model does not count them."""

END = "client.end"
"""A client has ended: what it held is due again, as soon as the others find that out."""

_CREATES = ("promise.create", "cell.submit")
_FENCED = ("task.release", "task.fence", "task.suspend")


def step_execution(found: Execution | None, op: Operation) -> Iterable[Execution | None]:
    """The states after a request, if it could be answered so in this state; none if not."""
    if op.kind == END:
        gone = found is not None and found.task == "acquired" and found.holder == op.client
        return [found, found._replace(task="pending")] if found is not None and gone else [found]
    if found is None:
        return _step_missing(op)
    if op.kind in _CREATES:
        return [found] if op.kind == "promise.create" and _shows(found, op) else []
    if op.status == 404:
        return []
    if op.kind == "promise.get":
        return [found] if _shows(found, op) else []
    if op.kind == "promise.settle":
        after = _settled(found, *op.argument) if found.state == "pending" else found
        return [after] if _shows(after, op) else []
    return _step_task(found, op)


def _step_missing(op: Operation) -> Iterable[Execution | None]:
    if op.kind == "cell.submit" and op.status == 200:
        at_once = op.answer[1] is not None
        return [Execution(task="acquired", version=1, holder=op.client) if at_once else Execution()]
    if op.kind == "promise.create" and op.status == 200:
        return [Execution()] if _shows(Execution(), op) else []
    return [None] if op.status == 404 else []


def _step_task(found: Execution, op: Operation) -> Iterable[Execution]:
    version = op.argument[2] if op.kind == "task.fulfill" else op.argument
    held = found.task == "acquired" and found.version == version
    if op.kind in (*_FENCED, "task.fulfill"):
        if op.status == 409:
            return [] if held else [found]
        if not held:
            return []
        if op.status != 200:
            return [found]  # of what the request names beside the task
        if op.kind == "task.fulfill":
            after = _settled(found, *op.argument[:2])
            return [after] if _shows(after, op) else []
        return {"task.fence": _fence, "task.release": _release, "task.suspend": _suspend}[op.kind](found)
    if op.kind == "task.acquire":
        # A suspended task becomes pending when something settles that it waits for, which is another subject's.
        due = found.task in ("pending", "suspended") and found.version == version
        if op.status == 200:
            taken = found._replace(task="acquired", version=found.version + 1, holder=op.client)
            return [taken] if due and op.answer == taken.version else []
        behind = "@" in op.subject and found.task == "pending"  # another cell of its session is before it
        return [] if due and found.task == "pending" and not behind else [found]
    if op.kind == "task.halt":
        ended = found.task == "fulfilled"
        return [found] if ended and op.status == 409 else [] if ended or op.status != 200 else [_halted(found)]
    if op.kind == "task.continue":
        halted = found.task == "halted"
        return (
            [found._replace(task="pending")] if halted and op.status == 200 else [] if halted else _refused(found, op)
        )
    return [found]  # task.get: nothing of its answer is kept


def _refused(found: Execution, op: Operation) -> Iterable[Execution]:
    return [found] if op.status == 409 else []


def _halted(found: Execution) -> Execution:
    return found._replace(task="halted")


def _fence(found: Execution) -> Iterable[Execution]:
    return [found]


def _release(found: Execution) -> Iterable[Execution]:
    """Due again; or given up, since it was not the first time."""
    return [found._replace(task="pending"), _settled(found, "rejected", LOST)]


def _suspend(found: Execution) -> Iterable[Execution]:
    """Suspended; or held on, since something that it waits for is settled (300)."""
    return [found._replace(task="suspended"), found]


def _settled(found: Execution, state: str, value: str) -> Execution:
    return found._replace(state=state, value=value, task="fulfilled")


def _shows(found: Execution, op: Operation) -> bool:
    if op.status != 200:
        return False
    state, value = op.answer
    return state == found.state and (value == found.value or (found.value == LOST and _is_lost(value)))


def _is_lost(value: str | None) -> bool:
    try:
        return value is not None and b"ExecutionLost" in base64.b64decode(value)
    except binascii.Error:
        return False  # a client's


def step_lapsing(found: Execution | None, op: Operation) -> Iterable[Execution | None]:
    """The same where a client may not be heard of for longer than its lease: others may then have what it holds."""
    lapsed = found is not None and found.task == "acquired" and op.kind == "task.acquire" and op.status == 200
    return step_execution(found._replace(task="pending") if lapsed and found is not None else found, op)


class SessionState(NamedTuple):
    """The epoch of a session, and how many cells it has had."""

    epoch: int = 0
    cells: int = 0


def step_session(found: SessionState | None, op: Operation) -> Iterable[SessionState | None]:
    """The same for a session. Who owns it is left open: a client that ends gives everything up."""
    if op.kind == END:
        return [found]
    if op.kind == "cell.submit":
        before = found or SessionState()
        after = before._replace(cells=before.cells + 1)
        return [after] if op.status == 200 and op.answer[0] == after.cells else []
    if op.kind == "session.open":
        before = found or SessionState()
        return [each for each in (before, before._replace(epoch=before.epoch + 1)) if each.epoch == op.answer]
    if found is None:
        return [None] if op.status == 404 else []
    if op.status == 404:
        return []
    if op.kind == "session.take":
        if op.status == 409:
            return [found]
        return [each for each in (found, found._replace(epoch=found.epoch + 1)) if each.epoch == op.answer]
    assert op.kind == "session.give", op
    return [found] if (op.status == 200) == (found.epoch == op.argument) else []


type Step = Callable[[Any, Operation], Iterable[Any]]


def linearizable(operations: list[Operation], step: Step) -> bool:
    """Whether there is such an order. Every operation was answered."""
    count = len(operations)
    moments = sorted(
        [(op.call, 0, n) for n, op in enumerate(operations)] + [(op.back, 1, n) for n, op in enumerate(operations)]
    )
    # A doubly linked list of calls (n) and answers (count + n), with a head: those that are done are taken out.
    head = 2 * count
    after, before = [0] * (head + 1), [0] * (head + 1)
    last = head
    for _, is_answer, n in moments:
        place = n + count * is_answer
        after[last], before[place] = place, last
        last = place
    after[last], before[head] = head, last

    def lift(place: int) -> None:
        after[before[place]], before[after[place]] = after[place], before[place]

    def put_back(place: int) -> None:
        after[before[place]] = before[after[place]] = place

    states: States = frozenset([None])
    done, seen = 0, set[tuple[int, States]]()
    path: list[tuple[int, States]] = []
    place = after[head]
    while after[head] != head:
        if place < count:
            new = frozenset(each for state in states for each in step(state, operations[place]))
            bits = done | 1 << place
            if new and (bits, new) not in seen:
                seen.add((bits, new))
                path.append((place, states))
                states, done = new, bits
                lift(place)
                lift(place + count)
                place = after[head]
            else:
                place = after[place]
        else:  # the answer of what was not done: the last choice was wrong
            if not path:
                return False
            place, states = path.pop()
            done ^= 1 << place
            put_back(place + count)
            put_back(place)
            place = after[place]
    return True


def read(paths: Iterable[Path]) -> dict[str, list[Operation]]:
    """The operations of each subject. A cell is begun by a request about its session."""
    subjects: dict[str, list[Operation]] = defaultdict(list)
    for client, path in enumerate(paths):
        for text in path.read_text().splitlines():
            line = Line(*json.loads(text))
            if line.kind == "output.append":
                continue  # postgres_histories checks those
            op = Operation(
                client, line.subject, line.kind, line.argument, line.status, line.answer, line.began, line.ended
            )
            subjects[line.subject].append(op)
            if line.kind == "cell.submit" and line.status == 200:
                cell = f"exec:{line.subject}@{line.answer[0]}"
                subjects[cell].append(op._replace(subject=cell))
    return subjects


def with_ends(subjects: dict[str, list[Operation]]) -> dict[str, list[Operation]]:
    """The same, with the ends of the clients: others find out whenever they do."""
    ends: dict[int, int] = {}
    for operations in subjects.values():
        for op in operations:
            ends[op.client] = max(op.back, ends.get(op.client, 0))
    never = max(ends.values(), default=0) + 1
    return {
        name: [*ops, *(Operation(client, name, END, None, 200, None, at, never) for client, at in ends.items())]
        for name, ops in subjects.items()
    }


def check(subjects: dict[str, list[Operation]], *, lapses: bool = False) -> list[str]:
    """The subjects whose answers fit no order. lapses: a client may have been cut off for longer than its lease."""
    execution: Step = step_lapsing if lapses else step_execution
    models: dict[bool, Step] = {True: execution, False: step_session}
    whole = with_ends(subjects)
    return [name for name, ops in whole.items() if not linearizable(ops, models[name.startswith("exec:")])]


def export(subjects: dict[str, list[Operation]], path: Path) -> None:
    """Write them for porcupine: one operation a line, partitioned by `Key`."""
    with path.open("w") as file:
        for name, operations in subjects.items():
            for op in operations:
                given = {"kind": op.kind, "argument": op.argument}
                came = {"status": op.status, "answer": op.answer}
                fields = {"Key": name, "ClientId": op.client, "Input": given, "Call": op.call}
                file.write(json.dumps({**fields, "Output": came, "Return": op.back}) + "\n")


@contextmanager
def _at_work(fault: Fault, seed: int) -> Any:
    """The fault acts again and again until the block ends."""
    ended, happened, dice = threading.Event(), list[str](), random.Random(seed)

    def act() -> None:
        while not ended.wait(fault.every_s):
            happened.append(fault.act(dice))

    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield happened
    finally:
        ended.set()
        thread.join()


def _run(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    options = {"operations": given.operations, "clients": given.clients, "seed": given.seed}
    if given.fault is None:
        server = PostgresServer()
        try:
            return campaign([server.url()] * given.clients, folder, **options, cut_every_s=2.0)
        finally:
            server.stop()
    fault = FAULTS[given.fault]()
    try:
        urls = [fault.url, *(fault.engine_url() for _ in range(given.clients - 1))]
        with _at_work(fault, given.seed) as happened:
            found = campaign(urls, folder, **options, cut_every_s=3_600.0)
        return {**found, "fault": given.fault, "happened": len(happened)}
    finally:
        fault.stop()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--fault", choices=sorted(FAULTS), help="instead of connections that are cut")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--export", type=Path, metavar="FILE", help="write the history for porcupine")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = _run(given, Path(folder))
        subjects = read(sorted(Path(folder).glob("history-*")))
    if given.export:
        export(subjects, given.export)
    wrong = check(subjects, lapses=given.fault == "network")
    for name in wrong:
        for op in sorted(subjects[name], key=lambda op: op.call):
            print(*op, file=sys.stderr)
    checked = sum(map(len, subjects.values()))
    print(json.dumps({**found, "operations checked": checked, "not linearizable": wrong}))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
