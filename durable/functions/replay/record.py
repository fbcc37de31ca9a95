"""The record of one durable function and its replay: which operation comes next, and which result is delivered when.

Pure: it knows neither promises nor loops. A function is a pure function of the results that are delivered to it, one at
a time; so a replay that delivers them in the recorded order makes the same operations in the same order, in the same
tasks (specs/execution.md, X1-X7).

Operations of a function are numbered from 1 in the order in which they were begun: the ordinal. An operation's record
says which results were delivered since the operation before it was begun; where that is just the result of the
operation before it, as in code that does one thing after another, it says nothing.
"""

from __future__ import annotations

import base64
import sys
import zlib
from array import array
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from durable.core.errors import NonDeterminism
from durable.core.frozen_record import FrozenRecord

CANCEL = 0
"""Stands among the delivered ordinals for the request to cancel the function."""

ORDINAL_TAG = "durable:ordinal"
AFTER_TAG = "durable:after"
TASK_TAG = "durable:task"
RECORD_TAG = "durable:record"
RECORD_VERSION = "2"
"""On the first operation of each function. Records without it were made before deliveries were recorded."""

OLD_RECORD = (
    "it was begun by a durable-exec before 0.2, which did not record in which order concurrent branches got their "
    "results; let a durable-exec 0.1 finish it, or cancel it and start it again under another id"
)


class OperationKey(NamedTuple):
    """The key of an operation: its kind (step, sleep, timer, execute, input, …), its name, its arguments' digest."""

    kind: str
    name: str
    digest: str

    def shown(self) -> str:
        return f"{self.kind} {self.name!r} (arguments {self.digest[:8] or 'none'})"


PATCH = "patch"
"""The kind of an operation that records nothing but that code was begun with a patch (`ctx.patched`): a replay by code
that does not ask for it any more passes it over."""

CALL_KINDS = ("input",)
"""Operations whose promises are numbered among the calls of the execution, not among the function's children."""


class Recorded(FrozenRecord, frozen=True):
    """An operation as its promise has it. `number` is the last part of its id: `exec:<id>.3`, `exec:<id>:input:3`."""

    promise_id: str
    operation: OperationKey
    number: int
    ordinal: int = 0
    after: tuple[int, ...] | None = None
    task: int = 1
    versioned: bool = True
    """Whether its promise has the tag of this form of record."""
    settled: bool = False
    concurrent: bool = False
    """An old record's mark of concurrent code."""

    @property
    def call(self) -> bool:
        return self.operation.kind in CALL_KINDS


class Begun(NamedTuple):
    """An operation that the function begins now."""

    ordinal: int
    recorded: Recorded | None
    """The matching record; None when it is new: then `number` is that of a new child, and `tags` say its place."""
    number: int = 0
    tags: dict[str, str] = {}  # noqa: RUF012


class Replay:
    """The record of one function, matched operation by operation while the function runs again."""

    def __init__(self, recorded: Iterable[Recorded] = ()) -> None:
        self._old_children: deque[Recorded] = deque()
        self._old_calls: deque[Recorded] = deque()
        self._old = 0
        """How many operations an older durable-exec recorded: they come first, one after another."""
        self.old_concurrent = False
        self._script: dict[int, Recorded] = {}
        self._length = self._children = self._begun = 0
        self._due: deque[int] = deque()
        self._delivered: list[int] = []
        self._outstanding: dict[int, Recorded] = {}
        self._passed_over: set[int] = set()
        """Patches that the record has and that the code does not ask for, by ordinal."""
        self.patches: set[str] = set()
        """The patches that the record has."""
        found = sorted(recorded, key=lambda each: each.number)
        if found:
            self._load(found)
            self._enter()

    def _load(self, found: list[Recorded]) -> None:
        current = any(each.versioned and each.ordinal == 1 for each in found)
        old = [] if current else [each for each in found if not each.versioned]
        self._old_children.extend(each for each in old if not each.call)
        self._old_calls.extend(each for each in old if each.call)
        self._old = len(old)
        self.old_concurrent = any(each.concurrent for each in old)
        self._script = {each.ordinal: each for each in found if current or each.versioned}
        self._length = max(self._script, default=self._old)
        self.patches = {each.operation.name for each in self._script.values() if each.operation.kind == PATCH}
        self._children = max((each.number for each in found if not each.call), default=0)

    @property
    def live(self) -> bool:
        """Whether every recorded operation was begun again: what comes now is new."""
        return self._begun >= self._length

    def begin(self, operation: OperationKey, task: int) -> Begun:
        """Begin an operation in the function's n-th task. NonDeterminism when the record has another one."""
        self.pass_over_patches(operation)
        ordinal = self._begun + 1
        recorded = None
        if self._begun < self._old:
            recorded = self._begin_old(operation)
        elif self._begun < self._length:
            recorded = self._begin_recorded(operation, task)
        if recorded is None:
            call = operation.kind in CALL_KINDS
            self._children += not call
            begun = Begun(ordinal, None, self._children, self._tags(ordinal, 0 if call else self._children, task))
        else:
            begun = Begun(ordinal, recorded)
            self._outstanding[ordinal] = recorded
        self._begun = ordinal
        self._delivered.clear()
        self._enter()
        return begun

    def is_next(self, operation: OperationKey) -> bool:
        """Whether the record has this operation next, or ends here: whether it is begun now."""
        return self.live or (self._begun >= self._old and not self._due and self._expected().operation == operation)

    def pass_over_patches(self, operation: OperationKey | None = None) -> None:
        """Go on behind patches that the record has next, but for the one that is begun now (`operation`).

        Without an operation the code has come to where it can only wait: what it had asked for it would have begun.
        """
        while self._old <= self._begun < self._length and not self._due:
            expected = self._expected()
            if expected.operation.kind != PATCH or expected.operation == operation:
                return
            self._begun += 1
            self._passed_over.add(self._begun)
            self._delivered.clear()  # what was delivered before it is recorded with it
            self._enter()

    def due(self) -> int | None:
        """The result that the record says is delivered next; None when an operation is to come first, or when live."""
        if self._begun < self._old:
            # One thing after another: whatever was begun is answered before the next.
            return next((ordinal for ordinal, each in self._outstanding.items() if each.settled), None)
        return self._due[0] if self._due else None

    def delivered(self, ordinal: int) -> None:
        """A result, or CANCEL, is delivered to the function now."""
        if self._due and self._due[0] == ordinal:
            self._due.popleft()
        else:
            assert self.live or self._begun < self._old, "a replay delivers what the record says"
        self._outstanding.pop(ordinal, None)
        self._delivered.append(ordinal)

    def missing(self, instead: str) -> NonDeterminism | None:
        """The error when a recorded operation was not begun, though all that came before it was delivered."""
        self.pass_over_patches()
        if self.live:
            return None
        expected = self._expected()
        return self._differs(expected, instead)

    # -- matching -------------------------------------------------------------------------------------------------

    def _begin_recorded(self, operation: OperationKey, task: int) -> Recorded:
        expected = self._expected()
        if operation != expected.operation:
            raise self._differs(expected, operation.shown())
        if self._due:
            results = ", ".join("the cancellation" if each == CANCEL else f"operation {each}" for each in self._due)
            raise self._differs(expected, f"it before the result of {results}", "after that")
        if task != expected.task:
            raise self._differs(expected, f"it in task {task}", f"in task {expected.task}")
        return expected

    def _begin_old(self, operation: OperationKey) -> Recorded:
        queue = self._old_calls if operation.kind in CALL_KINDS else self._old_children
        expected = queue[0] if queue else self._expected()
        if expected.operation != operation:
            raise self._differs(expected, operation.shown())
        return queue.popleft()

    def _differs(self, expected: Recorded, attempted: str, where: str = "") -> NonDeterminism:
        recorded = f"{expected.operation.shown()} {where}".rstrip()
        hint = f"Mind that {OLD_RECORD}." if self._old else ""
        return NonDeterminism(expected.promise_id, recorded, attempted, hint)

    def _expected(self) -> Recorded:
        if self._begun < self._old:
            return (self._old_children or self._old_calls)[0]
        found = self._script.get(self._begun + 1)
        if found is None:  # creations commit in order, so a record has no gaps
            after = self._script[max(self._script)]
            raise NonDeterminism(after.promise_id, "an operation without the ones before it", "another")
        return found

    def _enter(self) -> None:
        """Queue the results that are delivered before the next recorded operation."""
        if self._old <= self._begun < self._length:
            after = self._expected().after
            due = _usual(self._begun + 1) if after is None else after
            self._due.extend(ordinal for ordinal in due if ordinal not in self._passed_over)

    def _tags(self, ordinal: int, number: int, task: int) -> dict[str, str]:
        explicit = self._old > 0  # behind an old record nothing goes without saying
        tags = {RECORD_TAG: RECORD_VERSION} if ordinal == 1 or explicit else {}
        delivered = tuple(self._delivered)
        if explicit or delivered != _usual(ordinal):
            tags[AFTER_TAG] = pack_ordinals(delivered)
        if ordinal != number:
            tags[ORDINAL_TAG] = str(ordinal)
        if task != 1:
            tags[TASK_TAG] = str(task)
        return tags


def read(promise_id: str, tags: dict[str, str], *, settled: bool) -> Recorded | None:
    """A recorded operation as its promise has it; None for a promise that is none."""
    digest = tags.get("durable:digest")
    last = promise_id[max(promise_id.rfind("."), promise_id.rfind(":")) + 1 :]
    if digest is None or not last.isdigit():
        return None
    ordinal, after, task = tags.get(ORDINAL_TAG, last), tags.get(AFTER_TAG), tags.get(TASK_TAG, "1")
    if not (ordinal.isdigit() and task.isdigit()):
        raise NonDeterminism(promise_id, f"an operation in place {ordinal!r}, task {task!r}", "nothing like it")
    return Recorded(
        promise_id,
        OperationKey(tags.get("durable:kind", ""), tags.get("durable:name", ""), digest),
        int(last),
        int(ordinal),
        None if after is None else unpack_ordinals(after),
        int(task),
        RECORD_TAG in tags or ORDINAL_TAG in tags or AFTER_TAG in tags,
        settled,
        "durable:concurrent" in tags,
    )


def _usual(ordinal: int) -> tuple[int, ...]:
    """The results delivered before an operation of code that does one thing after another."""
    return (ordinal - 1,) if ordinal > 1 else ()


PACKED_CHARS_MIN = 1024
"""Characters of a list of ordinals from which on it is compressed: a promise's tags hold 64 KiB."""


def pack_ordinals(ordinals: Iterable[int]) -> str:
    """Ordinals in their order, runs of ascending ones as `first-last`: "4 1-3"."""
    runs: list[list[int]] = []
    for ordinal in ordinals:
        if runs and ordinal == runs[-1][1] + 1:
            runs[-1][1] = ordinal
        else:
            runs.append([ordinal, ordinal])
    text = " ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
    if len(text) < PACKED_CHARS_MIN:
        return text
    flat = [ordinal for first, last in runs for ordinal in range(first, last + 1)]
    packed = array("I", flat) if max(flat) >= 1 << 16 else array("H", flat)
    if sys.byteorder == "big":
        packed.byteswap()
    return f"z{packed.typecode}{base64.b64encode(zlib.compress(packed.tobytes(), 9)).decode('ascii')}"


def unpack_ordinals(text: str) -> tuple[int, ...]:
    """The ordinals that `pack_ordinals` packed."""
    if text.startswith("z"):
        packed = array("I" if text[1] == "I" else "H", zlib.decompress(base64.b64decode(text[2:])))
        if sys.byteorder == "big":
            packed.byteswap()
        return tuple(packed)
    found: list[int] = []
    for run in text.split():
        first, _, last = run.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return tuple(found)
