"""The lists and searches of a store elsewhere: the face of `durable.store.reads.Reads`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from durable.core.errors import StoreError, StoreRefused
from durable.core.limits import REQUEST_UNHEARD_S
from durable.store.operations.halted_waits import Halt
from durable.store.protocol import reads
from durable.store.remote.client import StoreClient
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
    opened_row,
)


class _Head(msgspec.Struct, frozen=True):
    status: int


class _Reply(msgspec.Struct, frozen=True):
    head: _Head
    data: msgspec.Raw


class RemoteReads:
    """Reads over HTTP. They see what was committed when the server answers; they do not wait for the lane."""

    def __init__(self, client: StoreClient, living: Callable[[], Awaitable[None]]) -> None:
        self._client = client
        self._living = living
        self._within_s = REQUEST_UNHEARD_S

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
        whole: bool = True,
    ) -> list[ExecutionRow]:
        """Executions, newest first."""
        asked = reads.ListExecutions(
            state=state,
            session=session,
            function=function,
            tag=tag,
            since=since,
            until=until,
            limit=limit,
            before=before,
            whole=whole,
        )
        found: list[ExecutionRow] = await self._read("list_executions", asked)
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
        """How many executions there are in each state, at most COUNTED_ROWS_MAX of each."""
        asked = reads.CountExecutions(session=session, function=function, tag=tag, since=since, until=until)
        found: dict[str, int] = await self._read("count_executions", asked)
        return found

    async def signal_waits(self, *, executions: list[str]) -> list[tuple[str, str]]:
        """The signals that these executions wait for: execution and name."""
        found: list[tuple[str, str]] = await self._read("signal_waits", reads.SignalWaits(executions=executions))
        return found

    async def get_execution(self, execution_id: str) -> ExecutionRow | None:
        """One execution, or None. The id is without `exec:`."""
        found: ExecutionRow | None = await self._read("get_execution", reads.ExecutionId(execution_id=execution_id))
        return found

    async def get_promise(self, promise_id: str) -> PromiseRow | None:
        """One promise by its full id, or None."""
        found: PromiseRow | None = await self._read("get_promise", reads.PromiseId(promise_id=promise_id))
        return found

    async def children(self, execution_id: str, *, limit: int = 10_000) -> list[PromiseRow]:
        """Everything under an execution, in order of id."""
        asked = reads.Children(execution_id=execution_id, limit=limit)
        found: list[PromiseRow] = await self._read("children", asked)
        return found

    async def prompts(self, *, execution: str | None = None) -> list[PromptRow]:
        """Open questions to people, oldest first."""
        found: list[PromptRow] = await self._read("prompts", reads.Prompts(execution=execution))
        return found

    async def retries(self) -> list[PromiseRow]:
        """Steps that wait for their next try, oldest first."""
        found: list[PromiseRow] = await self._read("retries", reads.Nothing())
        return found

    async def queues(self) -> list[QueueRow]:
        """All queues, by name."""
        found: list[QueueRow] = await self._read("queues", reads.Nothing())
        return found

    async def queue_keys(self, queue: str, *, limit: int = 100, after: str | None = None) -> list[QueueKeyRow]:
        """The keys of a queue with executions that wait or run, by name."""
        asked = reads.QueueKeys(queue=queue, limit=limit, after=after)
        found: list[QueueKeyRow] = await self._read("queue_keys", asked)
        return found

    async def output(self, execution_id: str, from_offset: int = 0, *, limit: int = 10_000) -> list[OutputRow]:
        """The output of an execution from that character on; at most `limit` chunks."""
        asked = reads.Output(execution_id=execution_id, from_offset=from_offset, limit=limit)
        found: list[OutputRow] = await self._read("output", asked)
        return found

    async def printed(
        self, execution_id: str, from_offset: int = 0, *, rewinds: int | None = None, limit: int = 10_000
    ) -> OutputPage:
        """The same for a reader that follows, with what was cut since its last look."""
        asked = reads.Printed(execution_id=execution_id, from_offset=from_offset, rewinds=rewinds, limit=limit)
        found: OutputPage = await self._read("printed", asked)
        return found

    async def stream(self, execution_id: str, name: str, from_offset: int = 0, *, limit: int = 1_000) -> StreamPage:
        """The items of a stream from that offset on; at most `limit` writes."""
        asked = reads.Stream(execution_id=execution_id, name=name, from_offset=from_offset, limit=limit)
        found: StreamPage = await self._read("stream", asked)
        return found

    async def streams(self, execution_id: str) -> list[StreamEnd]:
        """The streams of an execution, by name."""
        found: list[StreamEnd] = await self._read("streams", reads.ExecutionId(execution_id=execution_id))
        return found

    async def published(self, execution_id: str, key: str | None = None) -> list[PublishedRow]:
        """The values that an execution has published: of all keys, or of one."""
        asked = reads.Published(execution_id=execution_id, key=key)
        found: list[PublishedRow] = await self._read("published", asked)
        return found

    async def output_end(self, execution_id: str) -> int:
        """The offset of the end of what an execution has printed so far, in characters."""
        found: int = await self._read("output_end", reads.ExecutionId(execution_id=execution_id))
        return found

    async def stopped(self, *, executions: list[str], sessions: dict[str, int]) -> StoppedElsewhere:
        """Which of these executions are halted, and which of these sessions are not in the epoch given any more."""
        asked = reads.Stopped(executions=executions, sessions=sessions)
        found: StoppedElsewhere = await self._read("stopped", asked)
        return found

    async def halts(self, *, awaited: list[str]) -> list[Halt]:
        """The halt that holds up each of these promises; those that nothing holds up are left out."""
        found: list[Halt] = await self._read("halts", reads.Halts(awaited=awaited))
        return found

    async def discards(self, execution_id: str) -> list[DiscardRow]:
        """Results of an execution that were thrown away since their lease was another's."""
        found: list[DiscardRow] = await self._read("discards", reads.ExecutionId(execution_id=execution_id))
        return found

    async def sessions(self) -> list[SessionRow]:
        """All sessions, by name."""
        found: list[SessionRow] = await self._read("sessions", reads.Nothing())
        return found

    async def figures(self, *, now: int) -> StoreFigures:
        """The numbers that an operator watches. now: ms since the epoch."""
        found: StoreFigures = await self._read("figures", reads.Figures(now=now))
        return found

    async def engines(self) -> list[EngineRow]:
        """Engines that joined, oldest first. Who of them lives is asked with it."""
        await self._living()
        found: list[EngineRow] = await self._read("engines", reads.Nothing())
        return found

    async def _read(self, name: str, request: msgspec.Struct) -> Any:
        kind = reads.READ + name
        body = msgspec.json.encode({"kind": kind, "data": request})
        _, found = await self._client.send(
            "POST", "/", body, {"content-type": "application/json"}, within_s=self._within_s
        )
        try:
            reply = msgspec.json.decode(found, type=_Reply)
            if reply.head.status >= 400:
                raise StoreRefused(kind, reply.head.status, msgspec.json.decode(reply.data, type=str))
            rows = msgspec.json.decode(reply.data, type=dict[str, msgspec.Raw])["found"]
            return opened_row(msgspec.json.decode(rows, type=reads.READINGS[name][1]))
        except (msgspec.MsgspecError, KeyError) as error:
            raise StoreError(f"the answer to {kind} cannot be read: {error}; is the server another version?") from None
