"""Forking an execution at a step, and retrying one that failed: each is an execution of its own (specs/fork.md)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from inspect import Parameter, signature
from typing import Any

from durable.core import ids
from durable.core.clock import now_ms
from durable.core.errors import BadArguments, Conflict, KeyUnavailable, NotFound, StoreRefused, ValueDamaged
from durable.core.frozen_record import FrozenRecord
from durable.executions.exported_record import export
from durable.executions.record_fork import NewExecution, RecordFork
from durable.functions.definition import Function, known_as
from durable.queues.states import QueueState
from durable.records.values import pack
from durable.store.port import StoreFace
from durable.store.rows import ExecutionRow

_NAMES_MAX = 1_000
"""Retries of one execution: whoever needs more has another problem."""

_BY_PLACE = Parameter.POSITIONAL_OR_KEYWORD

_READS_MAX = 5
"""Times that a record is read again because its execution went on meanwhile."""

_CONFLICTS = (HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.TOO_MANY_REQUESTS)
"""The name is taken; the queue takes nothing new; the queue is full."""

_RETRY_NAME = re.compile(r"-retry-[0-9]+\Z")

RETRIED = frozenset({"failed", "lost", "cancelled", "timed_out"})
"""States of what can be retried."""


class Forked(FrozenRecord, frozen=True):
    """A new execution `id`, from `source`: how many recorded operations it has, and which of them are begun again.

    queue: the queue that it stands in, "" for none. problem: why there is none, of many; then `id` is empty.
    passed_over: there is nothing to be done for it, as `passed_over` says.
    """

    id: str
    source: str
    kept: int
    begun_again: list[str]
    queue: str = ""
    problem: str = ""
    passed_over: bool = False


async def fork(
    store: StoreFace,
    source: str,
    step: int | None,
    new: str | None = None,
    *,
    changed: Mapping[str, Any] | None = None,
    dry_run: bool = False,
) -> Forked:
    """Make an execution of what another one recorded before `step`; with None, the retry of one that failed.

    changed: arguments by name, as JSON, in place of the recorded ones; the function has to be known here. dry_run: only
    say what it would have. NotFound; Conflict, BadArguments say why it cannot be.
    """
    word: NewExecution = "retry" if step is None else "fork"
    return await _from_record(store, word, source, step, new, changed=changed, dry_run=dry_run)


async def rewind(
    store: StoreFace,
    source: str,
    step: int,
    new: str | None = None,
    *,
    changed: Mapping[str, Any] | None = None,
    dry_run: bool = False,
) -> Forked:
    """The same as a fork before `step`, which takes the place of the old one in the same transaction.

    The old one is cancelled without clean-up where it is open, and names the new one. NotFound, Conflict, BadArguments.
    """
    return await _from_record(store, "rewind", source, step, new, changed=changed, dry_run=dry_run)


async def _from_record(
    store: StoreFace,
    word: NewExecution,
    source: str,
    step: int | None,
    new: str | None,
    *,
    changed: Mapping[str, Any] | None,
    dry_run: bool,
) -> Forked:
    for _ in range(_READS_MAX):
        row, chosen = await _chosen(store, word, source, step, changed)
        try:
            return await _made(store, chosen, row, new, word, step, dry_run=dry_run)
        except StoreRefused as refused:
            if refused.status != HTTPStatus.PRECONDITION_FAILED:
                raise
    raise Conflict(f"{source} goes on all the time: interrupt it, and {word} it then")


async def _chosen(
    store: StoreFace, word: NewExecution, source: str, step: int | None, changed: Mapping[str, Any] | None
) -> tuple[ExecutionRow, RecordFork]:
    """The execution as it is now, and the part of its record that another one begins with."""
    row = await store.reads.get_execution(source)
    if row is None:
        raise NotFound("execution", source, "`durable list` shows what there is")
    if row.session is not None:
        raise Conflict(
            f"{source} is code in a session: fork the session from a checkpoint, `durable fork SESSION NAME`"
        )
    if word == "rewind" and "~" in row.id:
        raise Conflict(f"{source} is a message to an actor: those are not rewound")
    if step is None and row.state not in RETRIED:
        raise Conflict(f"{source} is {row.state}: what is retried has failed, was lost, cancelled or timed out")
    if word != "fork":
        _refuse(row, await newest_of(store, row), word)
    chosen = RecordFork(await export(store, row))
    if changed:
        chosen.root = _with_arguments(chosen.root, row, changed)
    if step is None:
        chosen.up_to_failure()
    else:
        chosen.up_to(step)
    return row, chosen


async def newest_of(store: StoreFace, row: ExecutionRow) -> ExecutionRow:
    """The execution that has the place of this one now: its retry or what it was rewound as, or theirs; else itself."""
    seen = {row.id}
    while True:
        for tag in (ids.REWOUND_AS, ids.RETRIED_AS):
            name = row.tags.get(tag)
            after = None if name is None or name in seen else await store.reads.get_execution(name)
            if after is not None:
                break
        else:
            return row
        seen.add(after.id)
        row = after


async def passed_over(store: StoreFace, row: ExecutionRow) -> str:
    """Why one of many is not retried, whose work another retry does: it was retried or rewound, or is a child of what
    is to be retried. "" where it is."""
    try:
        _refuse(row, await newest_of(store, row), "retry")
    except Conflict as done:
        return str(done)
    link = row.tags.get("durable:parent", "")
    parent = await store.reads.get_execution(link.removeprefix(ids.PREFIX).partition(".")[0]) if link else None
    if parent is None or parent.session is not None or parent.state not in RETRIED:
        return ""
    found = await store.reads.get_promise(link)
    if found is None or "durable:detached" in found.tags:
        return ""
    return f"{row.id} is a child of {parent.id}, which is {parent.state}: retry that one"


def _refuse(row: ExecutionRow, newest: ExecutionRow, word: NewExecution) -> None:
    """Conflict where an execution was retried or rewound before: then what has its place is."""
    if newest.id == row.id:
        return
    verb = "rewound" if ids.REWOUND_AS in row.tags else "retried"
    if word == "retry" and newest.state == "completed":
        hint = "`durable fork ID --at STEP` performs a part of it again beside that"
    elif word == "retry" and newest.state not in RETRIED:
        hint = "wait for that one"
    else:
        hint = f"{word} that one"
    raise Conflict(f"{row.id} was {verb} as {newest.id}, which is {newest.state}: {hint}")


def _names(row: ExecutionRow, word: NewExecution) -> Iterator[str]:
    """The names to choose from: retries of one line are counted, however they come from each other."""
    source = row.id
    if word == "retry" and ids.FORKED_FROM in row.tags:
        source = _RETRY_NAME.sub("", source)
    return (f"{source}-{word}-{n}" for n in range(1, _NAMES_MAX))


async def _made(
    store: StoreFace,
    chosen: RecordFork,
    row: ExecutionRow,
    new: str | None,
    word: NewExecution,
    step: int | None,
    *,
    dry_run: bool,
) -> Forked:
    """Make the execution, under the first name that is free. StoreRefused: 412 where its source went on."""
    names = _names(row, word) if new is None else iter([ids.check_given_id(new)])
    if dry_run:
        queue = await _queue(store, row, chosen, word)
        name = next(names) if new is not None else await _free(store, names)
        return Forked(name, row.id, len(chosen.kept), chosen.begun_again, queue)
    for name in names:
        try:
            request = chosen.document(name, now_ms(), word)
            if word == "rewind":
                request["rewinds"] = chosen.rewinds(f"rewound before its step {step}: {name} has taken its place")
            made = (await store.request("execution.import", request)).data
        except StoreRefused as refused:
            if refused.status == HTTPStatus.PRECONDITION_FAILED:
                raise
            if refused.status == HTTPStatus.CONFLICT and new is None:
                continue
            raise (Conflict if refused.status in _CONFLICTS else BadArguments)(refused.message) from None
        return Forked(name, row.id, len(chosen.kept), chosen.begun_again, made.get("queue") or "")
    raise Conflict(f"there are {_NAMES_MAX - 1} executions {row.id}-{word}-<n>; name the next one yourself")


async def _free(store: StoreFace, names: Iterator[str]) -> str:
    """The first name that no execution has."""
    for name in names:
        if await store.reads.get_execution(name) is None:
            return name
    raise Conflict("all names are taken; name the next one yourself")


async def _queue(store: StoreFace, row: ExecutionRow, chosen: RecordFork, word: NewExecution) -> str:
    """The queue in which the new execution would stand, "" for none. Conflict where that would take nothing new."""
    queue = chosen.root["tags"].get(ids.QUEUE)
    if queue is None:
        return ""
    try:
        record = (await store.request("queue.get", {"queue": queue})).data["queue"]
    except StoreRefused as refused:
        if refused.status != HTTPStatus.NOT_FOUND:
            raise
        return ""
    if record["state"] == QueueState.DRAINING and (word != "rewind" or row.settled_at is not None):
        raise Conflict(f"the queue {queue!r} is drained: it takes nothing new until it is resumed")
    return str(queue)


async def fork_each(
    store: StoreFace,
    rows: Iterable[ExecutionRow],
    step: int | None,
    *,
    changed: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    in_place: bool = False,
) -> list[Forked]:
    """The same of many, each for itself: where it cannot be, `problem` says why. Cells are left out, and where step is
    None what did not fail. in_place: they are rewound, not forked."""
    made: list[Forked] = []
    for row in rows:
        if row.session is not None or "~" in row.id or (step is None and row.state not in RETRIED):
            continue
        try:
            if in_place and step is not None:
                made.append(await rewind(store, row.id, step, changed=changed, dry_run=dry_run))
            else:
                made.append(await fork(store, row.id, step, changed=changed, dry_run=dry_run))
        except (Conflict, BadArguments, NotFound, KeyUnavailable, ValueDamaged) as error:
            now = await store.reads.get_execution(row.id) if step is None else None
            why = "" if now is None else await passed_over(store, now)  # another process was quicker
            made.append(Forked("", row.id, 0, [], problem=why or str(error), passed_over=bool(why)))
    return made


def _changed(
    function: Function[..., Any], args: list[Any], kwargs: Mapping[str, Any], changed: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A call with other values of some arguments, by name; those of `*args` are a list, of `**kwargs` each its own."""
    parameters = [*signature(function.fn).parameters.values()][1:]
    many = next((each.name for each in parameters if each.kind is Parameter.VAR_POSITIONAL), None)
    rest = next((each.name for each in parameters if each.kind is Parameter.VAR_KEYWORD), None)
    names = [each.name for each in parameters if each.name != rest]
    unknown = [name for name in changed if name not in names and (rest is None or name == rest)]
    if unknown:
        raise BadArguments(f"{function.name} has no argument {unknown[0]!r}; it has {', '.join(names) or 'none'}")
    placed = [each.name for each in parameters if each.kind in (_BY_PLACE, Parameter.POSITIONAL_ONLY)]
    values = {**dict(zip(placed, args, strict=False)), **kwargs}
    extra = changed.get(many, args[len(placed) :]) if many is not None else []
    if not isinstance(extra, list):
        raise BadArguments(f"{function.name}: *{many} is a list, not {extra!r}")
    values |= {name: value for name, value in changed.items() if name != many}
    if not extra:  # by name, so that those before one may be left out
        placed = [each.name for each in parameters if each.kind is Parameter.POSITIONAL_ONLY]
    lacking = [name for name in placed if name not in values]
    if extra and lacking:
        raise BadArguments(f"{function.name}: *{many} needs a value for {lacking[0]!r} before it")
    by_place = [values.pop(name) for name in placed if name in values]
    return (*by_place, *extra), values


def _with_arguments(root: dict[str, Any], row: ExecutionRow, changed: Mapping[str, Any]) -> dict[str, Any]:
    """The execution's own promise with other arguments. BadArguments where the function does not take them."""
    function = known_as(row.function)
    if function is None:
        raise Conflict(f"{row.function} is not known here: its arguments can be changed only where it is")
    data: dict[str, Any] = row.param if isinstance(row.param, dict) else {}
    args, kwargs = _changed(function, data.get("args") or [], data.get("kwargs") or {}, changed)
    packed, keywords, digest = function.pack(args, kwargs)
    param = {"data": pack({**data, "args": packed, "kwargs": keywords})}
    return {**root, "param": param, "tags": {**root["tags"], "durable:arguments": digest}}
