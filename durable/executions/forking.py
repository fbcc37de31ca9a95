"""Forking an execution at a step, and retrying one that failed: each is an execution of its own (specs/fork.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from inspect import Parameter, signature
from typing import Any, Literal

from durable.core import ids
from durable.core.clock import now_ms
from durable.core.errors import BadArguments, Conflict, KeyUnavailable, NotFound, StoreRefused, ValueDamaged
from durable.core.frozen_record import FrozenRecord
from durable.executions.exported_record import export
from durable.executions.record_fork import RecordFork
from durable.functions.definition import Function, known_as
from durable.records.values import pack
from durable.store.port import StoreFace
from durable.store.rows import ExecutionRow

_NAMES_MAX = 1_000
"""Retries of one execution: whoever needs more has another problem."""

_BY_PLACE = Parameter.POSITIONAL_OR_KEYWORD

_REWINDS_MAX = 5
"""Times that a record is read again because its execution went on meanwhile."""

RETRIED = frozenset({"failed", "lost", "cancelled", "timed_out"})
"""States of what can be retried."""


class Forked(FrozenRecord, frozen=True):
    """A new execution `id`, from `source`: how many recorded operations it has, and which of them are begun again.

    problem: why there is none, of many; then `id` is empty.
    """

    id: str
    source: str
    kept: int
    begun_again: list[str]
    problem: str = ""


async def fork(
    store: StoreFace,
    source: str,
    step: int | None,
    new: str | None = None,
    *,
    changed: Mapping[str, Any] | None = None,
    dry_run: bool = False,
) -> Forked:
    """Make an execution of what another one recorded before `step`; with None, a retry of one that failed.

    changed: arguments by name, as JSON, in place of the recorded ones; the function has to be known here. dry_run: only
    say what it would have. NotFound; Conflict, BadArguments say why it cannot be.
    """
    row, chosen = await _chosen(store, source, step, changed)
    return await _made(store, chosen, row.id, new, "retry" if step is None else "fork", dry_run=dry_run)


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
    for _ in range(_REWINDS_MAX):
        row, chosen = await _chosen(store, source, step, changed)
        if "~" in row.id:
            raise Conflict(f"{source} is a message to an actor: those are not rewound")
        if ids.REWOUND_AS in row.tags:
            raise Conflict(f"{source} was rewound as {row.tags[ids.REWOUND_AS]}: rewind that one")
        try:
            return await _made(store, chosen, row.id, new, "rewind", dry_run=dry_run, before=step)
        except StoreRefused as refused:
            if refused.status != HTTPStatus.PRECONDITION_FAILED:
                raise
    raise Conflict(f"{source} goes on all the time: interrupt it, and rewind it then")


async def _chosen(
    store: StoreFace, source: str, step: int | None, changed: Mapping[str, Any] | None
) -> tuple[ExecutionRow, RecordFork]:
    """The execution as it is now, and the part of its record that another one begins with."""
    row = await store.reads.get_execution(source)
    if row is None:
        raise NotFound("execution", source, "`durable list` shows what there is")
    if row.session is not None:
        raise Conflict(
            f"{source} is code in a session: fork the session from a checkpoint, `durable fork SESSION NAME`"
        )
    if step is None and row.state not in RETRIED:
        raise Conflict(f"{source} is {row.state}: what is retried has failed, was lost, cancelled or timed out")
    chosen = RecordFork(await export(store, row))
    if changed:
        chosen.root = _with_arguments(chosen.root, row, changed)
    if step is None:
        chosen.up_to_failure()
    else:
        chosen.up_to(step)
    return row, chosen


async def _made(
    store: StoreFace,
    chosen: RecordFork,
    source: str,
    new: str | None,
    word: Literal["fork", "retry", "rewind"],
    *,
    dry_run: bool,
    before: int = 0,
) -> Forked:
    """Make the execution, under the first name that is free. before: of a rewind, the step."""
    given = None if new is None else ids.check_given_id(new)
    names = [given] if given is not None else [f"{source}-{word}-{n}" for n in range(1, _NAMES_MAX)]
    if dry_run:
        return Forked(names[0], source, len(chosen.kept), chosen.begun_again)
    for name in names:
        try:
            request = chosen.document(name, now_ms())
            if word == "rewind":
                request["rewinds"] = chosen.rewinds(f"rewound before its step {before}: {name} has taken its place")
            await store.request("execution.import", request)
        except StoreRefused as refused:
            if refused.status == HTTPStatus.PRECONDITION_FAILED:
                raise
            if refused.status == 409 and given is None:
                continue
            raise (Conflict if refused.status == 409 else BadArguments)(refused.message) from None
        return Forked(name, source, len(chosen.kept), chosen.begun_again)
    raise Conflict(f"there are {len(names)} executions {source}-{word}-<n>; name the next one yourself")


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
            made.append(Forked("", row.id, 0, [], str(error)))
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
