"""A record as the beginning of another execution: up to a step, or up to what failed (specs/fork.md). Pure.

What is kept is as it was: the new execution replays it and performs nothing of it again. What is reset is begun again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from durable.core import ids
from durable.core.clock import TIME_MAX_MS
from durable.core.errors import Conflict
from durable.functions.failures import read_document
from durable.functions.replay.execution_pass import place_of
from durable.functions.replay.record import CANCEL, Recorded, read
from durable.records.values import unpack

BEGAN = "durable:began"
"""Tag of a forked execution: when the first one was made, which is where its time begins (execution.md, L2)."""

type NewExecution = Literal["fork", "retry", "rewind"]
"""What is made of a record."""

_NESTED = "step"
_IN_SESSION = "execute"
_TIMER = "timer"
_CHILD_UNTIL = "durable:until"
"""Tag of a link: the child's own deadline, in ms since the epoch."""


@dataclass
class RecordFork:
    """The choice of what another execution begins with, made from a whole record."""

    record: dict[str, Any]
    promises: dict[str, dict[str, Any]] = field(default_factory=dict)
    operations: dict[str, list[Recorded]] = field(default_factory=dict)
    """Of each function, by the id of its promise, in the order in which they were begun."""
    beneath: dict[str, list[str]] = field(default_factory=dict)
    """Retries of a step and calls of foreign code that it ran, by the step's promise."""
    kept: dict[str, None] = field(default_factory=dict)
    reset: set[str] = field(default_factory=set)
    _failed_at: int | None = None
    """Of a retry: when what it begins with failed, in ms since the epoch."""

    def __post_init__(self) -> None:
        self.root = self.record["promises"][0]
        for promise in self.record["promises"][1:]:
            self.promises[promise["id"]] = promise
            tags = promise.get("tags") or {}
            operation = read(promise["id"], tags, settled=promise["state"] != "pending")
            owner = place_of(promise["id"], tags)
            if operation is None or owner is None:
                self.beneath.setdefault(_step_of(promise["id"]), []).append(promise["id"])
            else:
                self.operations.setdefault(owner, []).append(operation)
        for found in self.operations.values():
            found.sort(key=lambda each: each.ordinal)
            if not any(each.versioned and each.ordinal == 1 for each in found):
                raise Conflict("it was begun by a durable-exec before 0.2, whose records cannot be forked")

    # -- what is kept -----------------------------------------------------------------------------------------------

    def up_to(self, step: int) -> None:
        """Keep what the execution's own function began before its operation number `step`, from 1. Conflict."""
        own = self.operations.get(self.root["id"], [])
        if type(step) is not int or not 1 <= step <= len(own) + 1:
            raise Conflict(f"there is no step {step!r}: the record has {len(own)}; `durable show ID` lists them")
        self._keep(self.root["id"], step)

    def up_to_failure(self) -> None:
        """Keep all but what failed, which is begun again, and what was begun by whoever knew of the failure."""
        own = [each for found in self.operations.values() for each in found]
        if any(each.operation.kind == "compensation" for each in own):
            raise Conflict(
                f"{self.root['id'].removeprefix(ids.PREFIX)} has undone what it had done: start it again under another "
                "id, or fork it before the first step that was undone"
            )
        self._failed_at = self._failure_time(self.root)
        self._keep_around_failure(self.root)

    def _keep(self, function: str, below: int) -> None:
        for operation in self.operations.get(function, []):
            if operation.ordinal < below:
                self._keep_operation(operation)

    def _keep_operation(self, operation: Recorded) -> None:
        promise = self.promises[operation.promise_id]
        self.kept[operation.promise_id] = None
        self.kept.update(dict.fromkeys(self.beneath.get(operation.promise_id, ())))
        nested = operation.promise_id in self.operations
        if self._closed(promise):
            self.reset.add(operation.promise_id)
        elif promise["state"] == "pending" and operation.operation.kind == _NESTED and not nested:
            raise Conflict(
                f"{operation.promise_id.removeprefix(ids.PREFIX)} is a step that has not ended; fork before it"
            )
        if nested:
            self._keep(operation.promise_id, len(self.operations[operation.promise_id]) + 1)

    def _failed(self, function: dict[str, Any]) -> list[Recorded]:
        """The operations that a function failed by. Of a failure that says nothing of them, the last like it."""
        own = self.operations.get(function["id"], [])
        ordinals = _ordinals(function, "failed")
        if ordinals is not None:
            return [each for each in own if each.ordinal in ordinals and self._has_failed(each)]
        error = _error(function)
        like = [each for each in own if error is not None and _error(self.promises[each.promise_id]) == error]
        return like[-1:]

    def _has_failed(self, operation: Recorded) -> bool:
        """Whether an operation ended other than well; a timer by ending at all."""
        state = self.promises[operation.promise_id]["state"]
        return state != "pending" and (state != "resolved" or operation.operation.kind == _TIMER)

    def _failure_time(self, function: dict[str, Any]) -> int | None:
        """When the first of what failed had failed, in the innermost functions; None where it is no operation."""
        found: list[int] = []
        for operation in self._failed(function):
            promise = self.promises[operation.promise_id]
            inner = self._failure_time(promise)
            found.append(int(promise.get("settledAt") or 0) if inner is None else inner)
        return min(found, default=None)

    def _keep_around_failure(self, function: dict[str, Any]) -> None:
        own = self.operations.get(function["id"], [])
        failed = {each.ordinal for each in self._failed(function)}
        known = set[int]()
        kept: list[Recorded] = []
        for operation in own:
            after = (operation.ordinal - 1,) if operation.after is None else operation.after
            in_session = operation.operation.kind == _IN_SESSION
            lost = operation.ordinal in failed or self._closed(self.promises[operation.promise_id])
            cancelled = CANCEL in after and operation.ordinal > 1
            if cancelled or not failed.isdisjoint(after) or (in_session and lost):
                break
            known.update(after)
            kept.append(operation)
        failed |= self._unseen_failures(function, kept) - known
        for operation in kept:
            if operation.ordinal not in failed:
                self._keep_operation(operation)
                continue
            self.kept[operation.promise_id] = None
            self.reset.add(operation.promise_id)
            if operation.promise_id in self.operations:
                self._keep_around_failure(self.promises[operation.promise_id])

    def _unseen_failures(self, function: dict[str, Any], kept: list[Recorded]) -> set[int]:
        """The operations that failed beside what the function failed by, and of which it had not heard by then."""
        caught = _ordinals(function, "caught")
        if caught is None:
            return set()
        states = {each.ordinal: self.promises[each.promise_id]["state"] for each in kept}
        return {ordinal for ordinal, state in states.items() if state == "rejected" and ordinal not in caught}

    def _closed(self, promise: dict[str, Any]) -> bool:
        """Whether it was open when the execution ended or the retried operation failed, and was cancelled for that."""
        ended = self.root.get("settledAt") if self._failed_at is None else self._failed_at
        cancelled = promise["state"] == "rejected_canceled"
        return cancelled and ended is not None and int(promise.get("settledAt") or 0) >= ended

    # -- the new record -----------------------------------------------------------------------------------------------

    def document(self, new: str, now_ms: int, word: NewExecution = "fork") -> dict[str, Any]:
        """The request that makes the execution `new` of what is kept."""
        old = self.root["id"]
        limit = self.root["timeoutAt"]
        until = limit if limit >= TIME_MAX_MS else now_ms + limit - self.root["createdAt"]
        tags = {**self.root["tags"], ids.FORKED_FROM: old.removeprefix(ids.PREFIX)}
        tags.setdefault(BEGAN, str(self.root["createdAt"]))
        tags.pop("resonate:schedule", None)
        tags.pop("durable:parent", None)
        for successor in (ids.REWOUND_AS, ids.RETRIED_AS):
            tags.pop(successor, None)
        if word == "fork":  # beside what it comes from it is another call
            tags.pop(ids.QUEUE_DEDUPE, None)
        root = {**_pending(self.root), "createdAt": now_ms, "timeoutAt": until, "tags": tags}
        promises = [root]
        for promise_id in self.kept:
            promise = self.promises[promise_id]
            if promise_id in self.reset:
                promise = self._again(promise, now_ms, until)
            if promise["state"] == "pending" and promise["timeoutAt"] == limit:
                promise = {**promise, "timeoutAt": until}
            promises.append(promise)
        found = [_renamed(each, old, ids.PREFIX + new) for each in promises]
        request: dict[str, Any] = {"promises": found, "starts": 1, "begins": True}
        if word == "retry":
            request["retries"] = {"id": old}
        return request

    def _again(self, promise: dict[str, Any], now_ms: int, until: int) -> dict[str, Any]:
        """An operation to be begun again, with all its time; a timer that was cancelled keeps its moment.

        In a queue its time begins when the execution does.
        """
        tags, limit, created_at = dict(promise["tags"]), promise["timeoutAt"], promise["createdAt"]
        timer, whole_ms = tags.get("resonate:timer") == "true", tags.pop(ids.WHOLE_TIME, None)
        if timer and promise["state"] == "rejected_canceled" and whole_ms is None:
            return _pending(promise)
        again = {**_pending(promise), "timeoutAt": until, "tags": tags}
        if whole_ms is None and limit != self.root["timeoutAt"]:
            whole_ms = str(limit - created_at)
        child_until = int(tags.get(_CHILD_UNTIL, TIME_MAX_MS))
        if child_until < TIME_MAX_MS:
            tags[_CHILD_UNTIL] = str(child_until + now_ms - created_at)
        if whole_ms is not None and ids.QUEUE in self.root["tags"]:
            tags[ids.WHOLE_TIME] = whole_ms
        elif whole_ms is not None:
            again["timeoutAt"] = min(now_ms + int(whole_ms), until)
        if whole_ms is not None or child_until < TIME_MAX_MS or ids.parse_call(promise["id"]) is not None:
            again["createdAt"] = now_ms  # its time, and that of reminders, is counted from there
        return again

    def rewinds(self, reason: str) -> dict[str, Any]:
        """The part of that request which lets the new execution take the place of this one."""
        still = [each for each in self.kept if self.promises[each]["state"] == "pending"]
        return {"id": self.root["id"], "reason": reason, "open": still}

    @property
    def begun_again(self) -> list[str]:
        """The ids of what is reset."""
        return sorted(each.removeprefix(ids.PREFIX) for each in self.reset)


def _pending(promise: dict[str, Any]) -> dict[str, Any]:
    return {**promise, "state": "pending", "value": {}, "settledAt": None}


def _renamed(promise: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """The promise under the other execution's id; a child that has ended keeps its name, it is that one."""
    settled = promise["state"] != "pending"
    tags = {
        name: text if name == "durable:child" and settled else _moved(text, old, new)
        for name, text in promise["tags"].items()
        if name != ids.FORKED_FROM
    }
    if "durable:scope" in tags:
        tags["durable:scope"] = _moved(ids.PREFIX + tags["durable:scope"], old, new).removeprefix(ids.PREFIX)
    if ids.FORKED_FROM in promise["tags"]:
        tags[ids.FORKED_FROM] = promise["tags"][ids.FORKED_FROM]
    fields = ("state", "param", "value", "timeoutAt", "createdAt", "settledAt")
    return {"id": _moved(promise["id"], old, new), "tags": tags, **{name: promise.get(name) for name in fields}}


def _moved(text: str, old: str, new: str) -> str:
    rest = text.removeprefix(old)
    return new + rest if rest != text and (not rest or rest[0] in ".:@") else text


def _step_of(promise_id: str) -> str:
    """The step that a retry or a call of foreign code is of: `exec:<id>.<k>:<kind>:<n>`."""
    return ":".join(promise_id.split(":")[:2])


def _error(promise: dict[str, Any]) -> tuple[str, str] | None:
    """The kind and text of what a promise was rejected with; None where it was not."""
    found = _document(promise)
    return None if found is None else (str(found.get("exception_type")), str(found.get("exception_message")))


def _ordinals(function: dict[str, Any], name: Literal["failed", "caught"]) -> set[int] | None:
    """The operations that a function's failure names; None where it names none in this way."""
    operations = (_document(function) or {}).get("operations")
    found = operations.get(name) if isinstance(operations, dict) else None
    return {each for each in found if type(each) is int} if isinstance(found, list) else None


def _document(promise: dict[str, Any]) -> dict[str, Any] | None:
    """The error document that a promise was rejected with; None where it was not."""
    if promise["state"] != "rejected":
        return None
    try:
        return read_document(unpack((promise.get("value") or {}).get("data")))
    except RecursionError:  # somebody else's value
        return {}
