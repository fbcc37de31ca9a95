"""`engine.deployments`: code of several deployments side by side, each with the executions that it began."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from durable.core.errors import BadArguments, Conflict, NotFound, StoreRefused
from durable.core.frozen_record import FrozenRecord
from durable.core.limits import LOOKED_AT_ROWS_MAX, SEARCH_PAGE_ROWS
from durable.executions.deployment_name import check_deployment
from durable.executions.states import OPEN, ExecutionState
from durable.functions.definition import Function, known_as
from durable.functions.replay.replay_check import not_checked

if TYPE_CHECKING:
    from durable.engine.engine import Engine
    from durable.functions.replay.replay_check import ReplayCheck
    from durable.store.port import ReadsFace, StoreFace
    from durable.store.rows import ExecutionRow


class Deployment(FrozenRecord, frozen=True):
    """A deployment: code that engines were opened with, under a name (`durable.open(deployment=…)`).

    functions: all that its engines have served. new_work: those of them of which new executions go to it. engines: the
    ids of those that are alive. open: how many of its executions have not ended, by state; of each state
    COUNTED_ROWS_MAX at most. created_at, joined_at: when its first and its last engine joined, in ms.
    """

    name: str
    functions: list[str]
    new_work: list[str]
    engines: list[str]
    open: dict[str, int]
    created_at: int
    joined_at: int

    @property
    def stranded(self) -> bool:
        """Whether executions of it have not ended, and no engine of it is alive."""
        return bool(self.open) and not self.engines


class Deployments:
    """The deployments of a store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def list(self) -> list[Deployment]:
        """All deployments, the one that new work goes to first."""
        return await list_deployments(self._engine.store)

    async def use(self, name: str) -> None:
        """Have new executions go to this deployment again, as far as it serves the functions. NotFound."""
        await use_deployment(self._engine.store, name)

    async def delete(self, name: str) -> None:
        """Forget a deployment. NotFound; Conflict while engines of it are alive or its executions have not ended."""
        await delete_deployment(self._engine.store, name)

    async def try_move(self, id: str, name: str, *, dry_run: bool = False) -> ReplayCheck:
        """The same over its function as it is known here, told as a verdict: what is no `replays` stays where it is.

        dry_run: only say what would become of it. NotFound, BadArguments.
        """
        row = await self._engine.store.reads.get_execution(id)
        if row is None:
            raise NotFound("execution", id, "`durable list` shows what there is")
        if row.settled_at is not None:
            return not_checked(id, row.function, "it has ended")
        try:
            check = await self._engine.check_replay(id)
            return await self.move(id, name) if check.ok and not dry_run else check
        except Conflict as error:
            return replace(not_checked(id, row.function, str(error)), verdict="differs")

    async def move(self, id: str, name: str, fn: Function[..., Any] | None = None) -> ReplayCheck:
        """Have an execution that has begun, and that nobody runs, go on with the code of another deployment.

        Its record is replayed over the code of this process first: over `fn`, or over its function as it is known here.
        Returns the check. Conflict where it would not replay, runs, or has ended; NotFound, BadArguments.
        """
        check_deployment(name)
        row = await self._engine.store.reads.get_execution(id)
        if row is None:
            raise NotFound("execution", id, "`durable list` shows what there is")
        function = known_as(row.function) if fn is None else fn
        if function is None:
            reason = not_checked(id, row.function, f"this process does not know {row.function}").reason
            raise Conflict(f"{id} cannot be moved: {reason}")
        return await self._engine.upgrade(id, function, deployment=name)


async def list_deployments(store: StoreFace) -> list[Deployment]:
    """All deployments of a store, the one that new work goes to first."""
    store.require("deployments")
    answer = await store.request("deployment.list", {})
    return [Deployment(**each) for each in answer.data["deployments"]]


async def use_deployment(store: StoreFace, name: str) -> None:
    """Have new executions go to a deployment. NotFound."""
    await _request(store, "deployment.use", name)


async def delete_deployment(store: StoreFace, name: str) -> None:
    """Forget a deployment. NotFound, Conflict."""
    await _request(store, "deployment.delete", name)


def is_of(row: ExecutionRow, name: str) -> bool:
    """Whether an execution of a function that has begun belongs to a deployment; "" for those of none."""
    return row.deployment == name and row.session is None and "~" not in row.id and row.has_deployment


async def unsettled_of(
    reads: ReadsFace, name: str, *, limit: int, after: tuple[str, str] | None = None
) -> tuple[list[ExecutionRow], tuple[str, str] | None]:
    """Executions of a deployment that have not ended, at most `limit`, and where to go on; None at the end.

    By state, the newest first. At most LOOKED_AT_ROWS_MAX are looked at: it may have fewer, and go on all the same.
    after: where the look before ended.
    """
    if after is not None and after[0] not in OPEN:
        raise BadArguments(f"{after[0]!r} is no state in which executions have not ended")
    found: list[ExecutionRow] = []
    looked_at, (first, before) = 0, after or (OPEN[0].value, "")
    for state in OPEN[OPEN.index(ExecutionState(first)) :]:
        while True:
            rows = await reads.list_executions(state=state.value, limit=SEARCH_PAGE_ROWS, before=before or None)
            for row in rows:
                found += [row] if is_of(row, name) else []
                if len(found) == limit:
                    return found, (state.value, row.id)
            if len(rows) < SEARCH_PAGE_ROWS:
                break
            looked_at, before = looked_at + len(rows), rows[-1].id
            if looked_at >= LOOKED_AT_ROWS_MAX:
                return found, (state.value, before)
        before = ""
    return found, None


async def _request(store: StoreFace, kind: str, name: str) -> None:
    store.require("deployments")
    try:
        await store.request(kind, {"deployment": check_deployment(name)})
    except StoreRefused as refused:
        if refused.status == 404:
            raise NotFound("deployment", name, "`durable deployment list` shows what there is") from None
        raise Conflict(refused.message) from None
