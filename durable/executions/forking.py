"""Forking an execution at a step, and retrying one that failed: each is an execution of its own (specs/fork.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

from durable.core import ids
from durable.core.clock import now_ms
from durable.core.errors import BadArguments, Conflict, NotFound, StoreRefused
from durable.executions.exported_record import export
from durable.executions.record_fork import RecordFork
from durable.functions.definition import known_as
from durable.records.values import pack
from durable.store.port import StoreFace
from durable.store.rows import ExecutionRow

_NAMES_MAX = 1_000
"""Retries of one execution: whoever needs more has another problem."""

RETRIED = frozenset({"failed", "lost", "cancelled", "timed_out"})
"""States of what can be retried."""


@dataclass(frozen=True, slots=True)
class Forked:
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
    given = None if new is None else ids.check_given_id(new)
    word = "retry" if step is None else "fork"
    names = [given] if given is not None else [f"{source}-{word}-{n}" for n in range(1, _NAMES_MAX)]
    if dry_run:
        return Forked(names[0], source, len(chosen.kept), chosen.begun_again)
    for name in names:
        try:
            await store.request("execution.import", chosen.document(name, now_ms()))
        except StoreRefused as refused:
            if refused.status == 409 and given is None:
                continue
            raise (Conflict if refused.status == 409 else BadArguments)(refused.message) from None
        return Forked(name, source, len(chosen.kept), chosen.begun_again)
    raise Conflict(f"{source} has been retried or forked {len(names)} times; name the next one yourself")


async def fork_each(
    store: StoreFace,
    rows: Iterable[ExecutionRow],
    step: int | None,
    *,
    changed: Mapping[str, Any] | None = None,
    dry_run: bool = False,
) -> list[Forked]:
    """The same of many, each for itself: where it cannot be, `problem` says why. Cells are left out, and where step is
    None what did not fail."""
    made: list[Forked] = []
    for row in rows:
        if row.session is not None or "~" in row.id or (step is None and row.state not in RETRIED):
            continue
        try:
            made.append(await fork(store, row.id, step, changed=changed, dry_run=dry_run))
        except (Conflict, BadArguments, NotFound) as error:
            made.append(Forked("", row.id, 0, [], str(error)))
    return made


def _with_arguments(root: dict[str, Any], row: ExecutionRow, changed: Mapping[str, Any]) -> dict[str, Any]:
    """The execution's own promise with other arguments. BadArguments where the function does not take them."""
    function = known_as(row.function)
    if function is None:
        raise Conflict(f"{row.function} is not known here: its arguments can be changed only where it is")
    names = [*signature(function.fn).parameters][1:]
    unknown = [name for name in changed if name not in names]
    if unknown:
        raise BadArguments(f"{function.name} has no argument {unknown[0]!r}; it has {', '.join(names) or 'none'}")
    data: dict[str, Any] = row.param if isinstance(row.param, dict) else {}
    named = {**dict(zip(names, data.get("args") or [], strict=False)), **(data.get("kwargs") or {}), **changed}
    packed, keywords, digest = function.pack((), named)
    param = {"data": pack({**data, "args": packed, "kwargs": keywords})}
    return {**root, "param": param, "tags": {**root["tags"], "durable:arguments": digest}}
