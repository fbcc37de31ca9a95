"""Lists and searches on a Resonate server: by `promise.search` where it has that, else by ids that are known here."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from durable.core.clock import TIME_MAX_MS
from durable.core.errors import StoreLacks, StoreRefused
from durable.core.ids import ORIGIN, PREFIX
from durable.core.limits import COUNTED_ROWS_MAX, OUTSIDE_TASKS_MAX, SEARCH_ROWS_READ
from durable.store.operations.execution_tags import TAG
from durable.store.operations.halted_waits import Halt
from durable.store.protocol.requests import Answer
from durable.store.reads import is_of
from durable.store.resonate_server.execution_walk import Promise, walk
from durable.store.resonate_server.own_requests import was_lost
from durable.store.rows import (
    DiscardRow,
    EngineRow,
    ExecutionRow,
    OutputPage,
    OutputRow,
    PromiseRow,
    PromptRow,
    PublishedRow,
    QueueKeyRow,
    QueueRow,
    SessionRow,
    State,
    StoppedElsewhere,
    StoreFigures,
    StreamEnd,
    StreamPage,
    promise_row,
)

type Ask = Callable[[str, Mapping[str, object]], Awaitable[Answer]]

_ENDED: dict[str, State] = {
    "resolved": "completed",
    "rejected": "failed",
    "rejected_canceled": "cancelled",
    "rejected_timedout": "timed_out",
}
_GOING_ON: dict[str, State] = {"acquired": "running", "suspended": "waiting", "halted": "interrupted"}

_PAGE = 1_000


class ServerReads:
    """The reads of one Resonate server. `notes`: why tasks were halted, by promise, where this process did it."""

    def __init__(self, url: str, ask: Ask, notes: Mapping[str, str]) -> None:
        self._url = url
        self._ask = ask
        self._known: dict[str, None] = {}
        self._notes = notes

    def know(self, promise_id: str) -> None:
        """Remember an execution that this process has to do with: its questions can be looked for."""
        if is_root(promise_id):
            self._known[promise_id] = None
            while len(self._known) > OUTSIDE_TASKS_MAX:
                del self._known[next(iter(self._known))]

    async def get(self, promise_id: str) -> Promise | None:
        """A promise as the protocol has it; None where there is none."""
        found = await self._found("promise.get", promise_id)
        return None if found is None else found["promise"]

    async def _found(self, kind: str, promise_id: str) -> Any:
        try:
            return (await self._ask(kind, {"id": promise_id})).data
        except StoreRefused as refused:
            if refused.status != HTTPStatus.NOT_FOUND:
                raise
            return None

    async def _search(self, tags: dict[str, str], state: str | None = None) -> list[PromiseRow]:
        """The promises with these tags; at most SEARCH_ROWS_READ. StoreLacks where the server searches none."""
        rows: list[PromiseRow] = []
        cursor = None
        while len(rows) < SEARCH_ROWS_READ:
            asked: dict[str, Any] = {"tags": tags, "limit": _PAGE}
            asked |= {} if state is None else {"state": state}
            asked |= {} if cursor is None else {"cursor": cursor}
            page = (await self._ask("promise.search", asked)).data
            rows += [promise_row(promise) for promise in page["promises"]]
            cursor = page.get("cursor")
            if not cursor:
                break
        return rows

    async def list_executions(
        self,
        *,
        state: State | None = None,
        session: str | None = None,
        function: str | None = None,
        tag: tuple[str, str] | None = None,
        since: int | None = None,
        until: int | None = None,
        limit: int = 100,
        before: str | None = None,
        whole: bool = True,  # noqa: ARG002 - each is: it has no blobs
    ) -> list[ExecutionRow]:
        """Executions, newest first, of the first SEARCH_ROWS_READ promises; without a search, those known here."""
        if session is not None:
            raise StoreLacks(self._url, "sessions")
        try:
            roots = [row for row in await self._search({"resonate:origin": ORIGIN}) if is_root(row.id)]
        except StoreLacks:
            if not self._known:
                raise
            known = await asyncio.gather(*map(self.get_promise, self._known))
            roots = [row for row in known if row is not None]
        roots.sort(key=lambda row: (row.created_at, row.id), reverse=True)
        if before is not None:
            ids = [row.id for row in roots]
            roots = roots[ids.index(PREFIX + before) + 1 :] if PREFIX + before in ids else []
        found: list[ExecutionRow] = []
        for row in roots:
            name = row.tags.get("durable:function", "")
            if tag is not None and row.tags.get(f"{TAG}{tag[0]}") != tag[1]:
                continue
            if not (since or 0) <= row.created_at < (TIME_MAX_MS if until is None else until):
                continue
            if function is not None and not is_of(name, function):
                continue
            execution = await self._execution(row)
            if state is None or execution.state == state:
                found.append(execution)
            if len(found) >= limit:
                break
        return found

    async def count_executions(
        self,
        *,
        session: str | None = None,
        function: str | None = None,
        tag: tuple[str, str] | None = None,
        since: int | None = None,
        until: int | None = None,
    ) -> dict[str, int]:
        """How many executions there are in each state, of those that a list shows."""
        found = await self.list_executions(
            session=session, function=function, tag=tag, since=since, until=until, limit=COUNTED_ROWS_MAX
        )
        return dict(Counter(row.state for row in found))

    async def signal_waits(self, *, executions: list[str]) -> list[tuple[str, str]]:  # noqa: ARG002 - the port's
        """Nothing: signals need requests of ours."""
        return []

    async def get_execution(self, execution_id: str) -> ExecutionRow | None:
        """One execution, or None. The id is without `exec:`."""
        promise = await self.get(PREFIX + execution_id)
        if promise is not None:
            self.know(promise["id"])
        return None if promise is None else await self._execution(promise_row(promise))

    async def _execution(self, row: PromiseRow) -> ExecutionRow:
        found = await self._found("task.get", row.id)
        task: dict[str, Any] = {"state": "pending", "version": 0} if found is None else found["task"]
        begun: State = "running" if task["version"] else "pending"
        state = _ENDED.get(row.state) or _GOING_ON.get(str(task["state"]), begun)
        return ExecutionRow(
            id=row.id.removeprefix(PREFIX),
            state="lost" if state == "failed" and was_lost(row.value) else state,
            function=row.tags.get("durable:function", ""),
            session=None,
            n=None,
            param=row.param,
            value=row.value,
            tags=row.tags,
            created_at=row.created_at,
            settled_at=row.settled_at,
            timeout_at=row.timeout_at,
            starts=task["version"],
            attempts=0,
            last_error=None,
            note=self._notes.get(row.id) if state == "interrupted" else None,
            engine=task.get("pid") or None,
            engine_pid=None,
        )

    async def get_promise(self, promise_id: str) -> PromiseRow | None:
        """One promise by its full id, or None."""
        promise = await self.get(promise_id)
        return None if promise is None else promise_row(promise)

    async def children(self, execution_id: str, *, limit: int = 10_000) -> list[PromiseRow]:
        """Everything under an execution, in order of id."""
        return [promise_row(promise) for promise in await walk(self.get, PREFIX + execution_id)][:limit]

    async def prompts(self, *, execution: str | None = None) -> list[PromptRow]:
        """Open questions to people, oldest first; without a search, those of executions that this process knows."""
        try:
            rows = await self._search({"durable:capability": "input"}, "pending")
        except StoreLacks:
            known = [*self._known] if execution is None else [PREFIX + execution]
            if not known:
                raise
            rows = await self._questions(known)
        found = [_prompt(row) for row in sorted(rows, key=lambda row: (row.created_at, row.id))]
        return [each for each in found if execution is None or each.execution == execution]

    async def _questions(self, promises: list[str]) -> list[PromiseRow]:
        trees = await asyncio.gather(*(walk(self.get, promise_id) for promise_id in promises))
        rows = [promise_row(promise) for tree in trees for promise in tree]
        return [row for row in rows if row.state == "pending" and row.tags.get("durable:capability") == "input"]

    async def retries(self) -> list[PromiseRow]:
        """Steps that wait for their next try. StoreLacks where the server has no search."""
        return await self._search({"durable:capability": "retry"}, "pending")

    async def queues(self) -> list[QueueRow]:
        """StoreLacks: queues need requests of ours."""
        raise StoreLacks(self._url, "queues")

    async def queue_keys(self, queue: str, *, limit: int = 100, after: str | None = None) -> list[QueueKeyRow]:  # noqa: ARG002 - the port's
        """StoreLacks: likewise."""
        raise StoreLacks(self._url, "queues")

    async def output(self, *_of: object, **_page: object) -> list[OutputRow]:
        """Nothing: only code in sessions prints."""
        return []

    async def printed(self, *_of: object, **_page: object) -> OutputPage:
        """The same for a reader that follows."""
        return OutputPage(0, None, [])

    async def stream(self, *_of: object, **_page: object) -> StreamPage:
        """StoreLacks."""
        raise StoreLacks(self._url, "streams")

    async def streams(self, execution_id: str) -> list[StreamEnd]:  # noqa: ARG002 - the port's
        """StoreLacks."""
        raise StoreLacks(self._url, "streams")

    async def published(self, execution_id: str, key: str | None = None) -> list[PublishedRow]:  # noqa: ARG002
        """StoreLacks."""
        raise StoreLacks(self._url, "published values")

    async def output_end(self, execution_id: str) -> int:  # noqa: ARG002 - the port's
        """Nothing: only code in sessions prints."""
        return 0

    async def stopped(
        self,
        *,
        executions: list[str],
        sessions: dict[str, int],  # noqa: ARG002 - the port's
    ) -> StoppedElsewhere:
        """Which of these executions are halted."""
        halts = await self.halts(awaited=[PREFIX + each for each in executions])
        return StoppedElsewhere([halt.task.removeprefix(PREFIX) for halt in halts], [])

    async def halts(self, *, awaited: list[str]) -> list[Halt]:
        """The halt of each of these promises' own tasks."""
        tasks = await asyncio.gather(*(self._found("task.get", promise_id) for promise_id in awaited))
        return [
            Halt(promise_id, promise_id, self._notes.get(promise_id, "halted"))
            for promise_id, found in zip(awaited, tasks, strict=True)
            if found is not None and found["task"]["state"] == "halted"
        ]

    async def discards(self, execution_id: str) -> list[DiscardRow]:  # noqa: ARG002 - the port's
        """Nothing: the server notes no result that it refuses."""
        return []

    async def sessions(self) -> list[SessionRow]:
        """No rows: sessions need requests of ours."""
        return []

    async def engines(self) -> list[EngineRow]:
        """No rows: the server knows groups, and not who listens in them."""
        return []

    async def figures(self, *, now: int) -> StoreFigures:  # noqa: ARG002 - the port's
        """StoreLacks: the server counts for itself."""
        raise StoreLacks(self._url, "figures of the whole store")


def is_root(promise_id: str) -> bool:
    """Whether a promise is that of an execution which no other one began."""
    name = promise_id.removeprefix(PREFIX)
    return name != promise_id and ":" not in name and "." not in name


def _prompt(row: PromiseRow) -> PromptRow:
    execution = row.id.removeprefix(PREFIX).partition(":")[0]
    return PromptRow(row.id, execution, row.param, row.tags, row.created_at, row.timeout_at)
