"""`durable.Client`: a store that `durable serve` offers, used over its HTTP API by a program without an engine."""

from __future__ import annotations

import asyncio
import itertools
import os
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import quote, urlencode

import msgspec

from durable.client import api_models
from durable.client.api_errors import error_of, failure_of
from durable.client.api_models import Page
from durable.core.errors import BadArguments, EngineClosed, Halted, StoreUnreachable, Waiting
from durable.core.ids import mint_execution_id
from durable.core.retries import Retries
from durable.records.view_models import ExecutionView, ScheduleView, SessionView, StepView

if TYPE_CHECKING:
    import aiohttp

WAIT_S = 25.0
"""How long one request waits for an execution: proxies between often give up after 30 s."""

ANSWER_S = 60.0
"""For one answer."""

PATIENCE_S = 30.0
"""How long a client goes on trying while the server does not answer: a restart takes seconds."""

RETRY_FIRST_S = 0.1
RETRY_MAX_S = 5.0

_BUSY = {429, 502, 503, 504}


class Client:
    """The HTTP API of `durable serve`, typed. Use `async with durable.Client(url, token) as client`.

    token: DURABLE_TOKEN when None. patience: seconds for which a request is sent again while the server cannot be
    reached or is busy, StoreUnreachable then; only what may be repeated is. Errors of the server are raised as the
    classes that an engine raises (NotFound, Conflict, InvalidAnswer…).
    """

    def __init__(self, url: str, token: str | None = None, *, patience: float | timedelta = PATIENCE_S) -> None:
        if not url.startswith(("http://", "https://")):
            raise BadArguments(f"{url!r} is no URL of a server: it begins with http:// or https://")
        self.url = url.rstrip("/").removesuffix("/api/v1")
        self._token = os.environ.get("DURABLE_TOKEN", "") if token is None else token
        self._patience_s = patience.total_seconds() if isinstance(patience, timedelta) else patience
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        import aiohttp  # here, so that `import durable` and the class cost nothing of it

        self._session = aiohttp.ClientSession(
            headers={"authorization": f"Bearer {self._token}"} if self._token else None,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10.0),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connections. Idempotent."""
        if self._session is not None:
            await self._session.close()

    # -- executions ---------------------------------------------------------------------------------------------------

    async def start(
        self,
        function: str,
        *args: Any,
        id: str | None = None,
        timeout: float | timedelta | None = None,
        tags: Mapping[str, str] | None = None,
        queue: str | None = None,
        key: str = "",
        priority: int = 0,
        **kwargs: Any,
    ) -> api_models.ExecutionDetail:
        """Start a function by its name, or attach to the execution of this id. Arguments are JSON values.

        queue, key, priority: the queue that lets it begin, and its place there. NotFound where no living engine serves
        a function of that name; Conflict where the id exists with other arguments; BadArguments.
        """
        body: dict[str, Any] = {"function": function, "args": list(args), "kwargs": kwargs, "tags": dict(tags or {})}
        body |= {"timeout": _seconds(timeout), "queue": queue, "key": key, "priority": priority}
        named = {"idempotency-key": id or mint_execution_id()}
        return await self._ask("POST", "/executions", api_models.ExecutionDetail, body, headers=named, again=True)

    async def execution(self, id: str) -> api_models.ExecutionDetail:
        """One execution: its state, arguments and result. NotFound."""
        return await self._ask("GET", f"/executions/{_part(id)}", api_models.ExecutionDetail)

    def executions(
        self,
        *,
        state: str | None = None,
        session: str | None = None,
        function: str | None = None,
        tag: tuple[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        text: str | None = None,
    ) -> AsyncIterator[ExecutionView]:
        """Executions, newest first, from as many pages as are read. tag, tags: all of these; text: words that stand
        somewhere in them."""
        pairs = [*(() if tag is None else (tag,)), *(tags or {}).items()]
        named = ["=".join(pair) for pair in pairs] or None
        query = {"state": state, "session": session, "function": function, "tag": named, "text": text}
        return self._pages("/executions", Page[ExecutionView], query)

    def steps(self, id: str) -> AsyncIterator[StepView]:
        """The steps, children, calls and questions under an execution."""
        return self._pages(f"/executions/{_part(id)}/steps", Page[StepView], {})

    async def outcome(
        self, id: str, wait: float | timedelta = 0.0, *, through_prompts: bool = False
    ) -> api_models.ExecutionOutcome:
        """The outcome so far, after at most `wait` seconds; sooner where it has ended, waits for people or is held up.

        through_prompts: wait on while it waits for people.
        """
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + (_seconds(wait) or 0.0)
        while True:
            left = max(0.0, min(WAIT_S, ends_at - loop.time()))
            query = f"wait={left:.3f}&through_prompts={str(through_prompts).lower()}"
            path = f"/executions/{_part(id)}/result?{query}"
            found = await self._ask("GET", path, api_models.ExecutionOutcome)
            asks = found.waits_for and not through_prompts
            if found.ended or asks or found.halted is not None or loop.time() >= ends_at:
                return found

    async def result(self, id: str, *, timeout: float | timedelta | None = None) -> Any:
        """The value of an execution, waiting for it, also while it waits for people.

        ExecutionError (or its subclasses for lost, cancelled, timed out) when it failed; Halted as soon as it is held
        up; TimeoutError when `timeout` seconds pass first.
        """
        async with asyncio.timeout(_seconds(timeout)):
            while True:
                found = await self.outcome(id, WAIT_S, through_prompts=True)
                if found.ended or found.halted is not None:
                    return _value_of(found)

    async def result_or_wait(self, id: str, *, timeout: float | timedelta | None = None) -> Any:
        """The same, but Waiting as soon as it waits for people."""
        async with asyncio.timeout(_seconds(timeout)):
            while True:
                found = await self.outcome(id, WAIT_S)
                if found.waits_for and not found.ended:
                    raise Waiting(id, found.waits_for)
                if found.ended or found.halted is not None:
                    return _value_of(found)

    async def cancel(self, id: str, reason: str = "") -> bool:
        """End an execution for good; False when it had ended before. NotFound."""
        return await self._change(f"/executions/{_part(id)}/cancel", {"reason": reason})

    async def interrupt(self, id: str) -> bool:
        """Stop an execution so that `resume` goes on with it; False when it does not run or wait. NotFound."""
        return await self._change(f"/executions/{_part(id)}/interrupt", {})

    async def resume(self, id: str) -> bool:
        """Go on with an execution that was interrupted or halted; False when it was not. NotFound."""
        return await self._change(f"/executions/{_part(id)}/resume", {})

    async def retry(self, id: str, *, new_id: str | None = None) -> api_models.ForkedExecution:
        """Begin again what failed, from the step that failed. Conflict where it has not ended so."""
        path = f"/executions/{_part(id)}/retry"
        return await self._ask("POST", path, api_models.ForkedExecution, {"id": new_id})

    async def fork(
        self, id: str, step: int, *, changed: Mapping[str, Any] | None = None, new_id: str | None = None
    ) -> api_models.ForkedExecution:
        """Begin an execution with what another one recorded before a step; step 1 begins from the start.

        changed: arguments by name in place of the recorded ones. NotFound, Conflict, BadArguments.
        """
        path, body = f"/executions/{_part(id)}/fork", {"step": step, "id": new_id, "changed": dict(changed or {})}
        return await self._ask("POST", path, api_models.ForkedExecution, body)

    async def rewind(
        self, id: str, step: int, *, changed: Mapping[str, Any] | None = None, new_id: str | None = None
    ) -> api_models.ForkedExecution:
        """The same in the place of that one, which is cancelled where it is open. NotFound, Conflict, BadArguments."""
        path, body = f"/executions/{_part(id)}/rewind", {"step": step, "id": new_id, "changed": dict(changed or {})}
        return await self._ask("POST", path, api_models.ForkedExecution, body)

    async def bulk(
        self,
        action: Literal["cancel", "resume", "retry", "tag", "fork", "rewind", "delete"],
        *,
        dry_run: bool = False,
        **choice: Any,
    ) -> api_models.BulkOutcome:
        """Change many executions: those of `ids`, or those that fit state, session, function, tags, text, since, until.

        The newest first, `limit` (100) at a time: `cursor` is `next` of the outcome before. `reason` of cancelling,
        `set` are the tags to give, `step` and `changed` of forks and rewinds. dry_run: only say what would become of
        each. BadArguments.
        """
        body = {**choice, "dry_run": dry_run}
        return await self._ask("POST", f"/bulk/{action}", api_models.BulkOutcome, body, again=dry_run)

    async def count_executions(
        self, *, session: str | None = None, function: str | None = None, tag: tuple[str, str] | None = None
    ) -> dict[str, int]:
        """How many executions there are in each state that has any; 10,000 means so many or more."""
        query = {"session": session, "function": function, "tag": None if tag is None else "=".join(tag)}
        given = urlencode({name: value for name, value in query.items() if value is not None})
        return (await self._ask("GET", f"/execution-counts?{given}", api_models.ExecutionCounts)).counts

    async def export(self, id: str) -> dict[str, Any]:
        """An execution of a durable function as one document, as `engine.export` has it. NotFound, Conflict."""
        return await self._ask("GET", f"/executions/{_part(id)}/export", dict[str, Any])

    async def import_execution(self, document: Mapping[str, Any]) -> api_models.ExecutionDetail:
        """Recreate an execution from its document. BadArguments; Conflict where the store has its id."""
        return await self._ask("POST", "/imports", api_models.ExecutionDetail, {"document": dict(document)})

    async def delete(self, id: str) -> None:
        """Forget an execution that has ended. NotFound; Conflict where it has not, or is still needed."""
        await self._ask("DELETE", f"/executions/{_part(id)}", Any)

    async def signal(self, id: str, name: str, value: Any = None, *, key: str | None = None) -> bool:
        """Send an execution a signal; False where it was sent under its key before. NotFound, InvalidAnswer."""
        path, body = f"/executions/{_part(id)}/signals/{_part(name)}", {"value": value, "key": key or uuid.uuid4().hex}
        return (await self._ask("POST", path, api_models.SignalSent, body, again=True)).sent

    async def settle(self, promise: str, value: Any = None, *, error: str | None = None) -> None:
        """Settle a promise of `ctx.promise()`: with a value, or with the text of an error."""
        body = {"value": value, "error": error}
        await self._ask("POST", f"/promises/{_part(promise)}/settle", api_models.PromiseSettled, body, again=True)

    # -- schedules ----------------------------------------------------------------------------------------------------

    def schedules(self) -> AsyncIterator[ScheduleView]:
        """Schedules, by id, from as many pages as are read."""
        return self._pages("/schedules", Page[ScheduleView], {})

    async def schedule(
        self,
        id: str,
        when: str,
        function: str,
        *args: Any,
        timezone: str | None = None,
        overlap: str = "allow",
        jitter: float | timedelta = 0.0,
        missed: str = "once",
        paused: bool | None = None,
        timeout: float | timedelta | None = None,
        **kwargs: Any,
    ) -> ScheduleView:
        """Start a function at every tick of a line, as `engine.schedule` does. One of this id is that from now on.

        when: a cron line or `@every 15s`. jitter, timeout: seconds or timedelta. paused: None for as it is. NotFound
        where no living engine serves a function of that name; BadArguments.
        """
        body: dict[str, Any] = {"cron": when, "function": function, "args": list(args), "kwargs": kwargs}
        body |= {"timezone": timezone, "overlap": overlap, "jitter": _seconds(jitter), "missed": missed}
        body |= {"paused": paused, "timeout": _seconds(timeout)}
        return await self._ask("PUT", f"/schedules/{_part(id)}", ScheduleView, body, again=True)

    async def turn_schedule(self, id: str, *, paused: bool) -> ScheduleView:
        """Let no tick of a schedule fire, or let them fire again. NotFound."""
        path = f"/schedules/{_part(id)}/{'pause' if paused else 'resume'}"
        return await self._ask("POST", path, ScheduleView, {}, again=True)

    async def trigger_schedule(self, id: str) -> str | None:
        """Start an execution of a schedule now: its id; None where it skips, since one goes on. NotFound."""
        return (await self._ask("POST", f"/schedules/{_part(id)}/trigger", api_models.Triggered, {})).execution

    async def backfill_schedule(
        self, id: str, since: datetime, until: datetime, *, overlap: str = "queue"
    ) -> list[str]:
        """Make up for the ticks from `since` up to `until`: the ids of what is started. NotFound, BadArguments."""
        body = {"since": since, "until": until, "overlap": overlap}
        path = f"/schedules/{_part(id)}/backfill"
        return (await self._ask("POST", path, api_models.Backfilled, body)).executions

    async def delete_schedule(self, id: str) -> None:
        """Fire no more ticks of a schedule. What it started goes on. NotFound."""
        await self._ask("DELETE", f"/schedules/{_part(id)}", Any)

    # -- deployments, rules -------------------------------------------------------------------------------------------

    async def deployments(self) -> list[api_models.DeploymentView]:
        """Deployments, the one that new work goes to first."""
        return (await self._ask("GET", "/deployments", Page[api_models.DeploymentView])).items

    async def use_deployment(self, name: str) -> api_models.DeploymentView:
        """Have new executions go to this deployment again, as far as it serves the functions. NotFound."""
        path = f"/deployments/{_part(name)}/use"
        return await self._ask("POST", path, api_models.DeploymentView, {}, again=True)

    async def move_executions(
        self,
        name: str,
        *,
        ids: Sequence[str] = (),
        old: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
        dry_run: bool = False,
    ) -> api_models.MoveOutcome:
        """Have executions go on with this deployment's code, where that replays their record; the others stay.

        Those of `ids`, or at most `limit` that have not ended of the deployment `old` ("": of none); `cursor` is `next`
        of the outcome before. dry_run: only say which. NotFound; Conflict where the server does not run the deployment.
        """
        body = {"ids": list(ids), "from": old, "limit": limit, "cursor": cursor, "dry_run": dry_run}
        return await self._ask("POST", f"/deployments/{_part(name)}/move", api_models.MoveOutcome, body, again=dry_run)

    async def delete_deployment(self, name: str) -> None:
        """Forget a deployment. NotFound; Conflict while engines of it are alive or its executions have not ended."""
        await self._ask("DELETE", f"/deployments/{_part(name)}", Any)

    async def retention_rules(self) -> list[api_models.RetentionRule]:
        """How long executions are kept once they have ended, by function and state, where code says so."""
        return (await self._ask("GET", "/retention", Page[api_models.RetentionRule])).items

    # -- people, sessions ---------------------------------------------------------------------------------------------

    def prompts(self, *, state: str = "open", execution: str | None = None) -> AsyncIterator[api_models.PromptDetail]:
        """Questions: open ones, oldest first, or settled ones, newest first.

        state: open, settled, or how they were settled: answered, declined, expired, cancelled, rejected.
        """
        return self._pages("/prompts", Page[api_models.PromptDetail], {"state": state, "execution": execution})

    async def answer(
        self,
        prompt: str,
        value: Any = None,
        *,
        decline: bool = False,
        why: str = "",
        by: str | None = None,
        teams: Sequence[str] = (),
    ) -> bool:
        """Answer a question; False while others are waited for. by, teams: for admins who answer for others.

        InvalidAnswer, NotAsked, Conflict, AnswerLate, NotFound, as `Engine.answer`.
        """
        body = {"value": value, "decline": decline, "why": why, "by": by, "teams": list(teams)}
        return (await self._ask("POST", f"/prompts/{_part(prompt)}/answer", api_models.AnswerTaken, body)).settled

    async def session(self, name: str, **options: Any) -> api_models.SessionDetail:
        """A session by name, made when it does not exist. options: grants, level, permissions, profile, limits, output,
        language. Conflict where it was made with something else."""
        return await self._ask("POST", "/sessions", api_models.SessionDetail, {"name": name, **options}, again=True)

    def sessions(self) -> AsyncIterator[SessionView]:
        """Sessions, by name."""
        return self._pages("/sessions", Page[SessionView], {})

    async def run(
        self,
        session: str,
        code: str,
        *,
        inputs: Mapping[str, Any] | None = None,
        id: str | None = None,
        timeout: float | timedelta | None = None,
    ) -> api_models.ExecutionDetail:
        """Record code as the next execution of a session and return; `result` waits for it. NotFound, Conflict.

        id: what stands behind `<session>@` in its id; made when None, so that it is recorded once.
        """
        body = {"code": code, "inputs": dict(inputs or {}), "timeout": _seconds(timeout)}
        named = {"idempotency-key": id or f"c{uuid.uuid4().hex}"}
        path = f"/sessions/{_part(session)}/executions"
        return await self._ask("POST", path, api_models.ExecutionDetail, body, headers=named, again=True)

    async def variables(self, session: str) -> api_models.VariableSet:
        """The variables of a session as of its newest checkpoint. NotFound."""
        return await self._ask("GET", f"/sessions/{_part(session)}/variables", api_models.VariableSet)

    # -- streams and everything else ----------------------------------------------------------------------------------

    async def output(self, id: str, offset: int = 0) -> AsyncIterator[api_models.PrintedEvent]:
        """The output of an execution and its cells until it has ended, across cut connections."""
        async for kind, data in self._events(f"/executions/{_part(id)}/output/stream?offset={offset}"):
            found = msgspec.convert(data, api_models.PrintedEvent)
            if kind == "end":
                return
            yield found

    async def stream(self, id: str, name: str, offset: int = 0) -> AsyncIterator[api_models.StreamItemEvent]:
        """The items of a stream from an offset on, until the execution has ended, across cut connections. NotFound."""
        path = f"/executions/{_part(id)}/streams/{_part(name)}/events?offset={offset}"
        async for kind, data in self._events(path):
            if kind == "end":
                return
            yield msgspec.convert(data, api_models.StreamItemEvent)

    async def published(self, id: str, key: str, *, wait: float | timedelta = 0.0) -> Any:
        """The newest value of a key that an execution publishes, after at most `wait` (50) seconds. NotFound."""
        path = f"/executions/{_part(id)}/published/{_part(key)}?wait={_seconds(wait) or 0.0:.3f}"
        return (await self._ask("GET", path, api_models.PublishedValue)).value

    async def events(self) -> AsyncIterator[api_models.StoreEvent]:
        """Changes of executions and questions, from now on, for ever. `kind` is `reset` where some were missed: the
        server has begun anew, so the program has to look anew."""
        async for kind, data in self._events("/events"):
            yield msgspec.convert({"kind": kind, **data}, api_models.StoreEvent)

    async def request(self, method: str, path: str, body: object = None) -> Any:
        """The document of any route, by its path below `/api/v1`; None where there is none."""
        return await self._ask(method, path, Any, body)

    # -- how it is asked ----------------------------------------------------------------------------------------------

    async def _change(self, path: str, body: object) -> bool:
        return (await self._ask("POST", path, api_models.Changed, body)).changed

    async def _pages[T](
        self, path: str, kind: type[Page[T]], query: Mapping[str, str | list[str] | None]
    ) -> AsyncIterator[T]:
        given = {name: value for name, value in query.items() if value is not None}
        while True:
            page = await self._ask("GET", f"{path}?{urlencode(given, doseq=True)}", kind)
            for item in page.items:
                yield item
            if page.next is None:
                return
            given["cursor"] = page.next

    async def _ask[T](
        self,
        method: str,
        path: str,
        kind: type[T],
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        again: bool = False,
    ) -> T:
        """The document of an answer. again: the request may be repeated though the server may have done it."""
        import aiohttp

        loop, retries = asyncio.get_running_loop(), Retries(RETRY_FIRST_S, RETRY_MAX_S)
        ends_at, safe = loop.time() + self._patience_s, again or method == "GET"
        for attempt in itertools.count():
            try:
                status, found = await self._send(method, path, body, headers or {})
                if status not in _BUSY or loop.time() >= ends_at or not (safe or status == 429):
                    break
                problem = f"it answers with {status}"
            except (aiohttp.ClientError, TimeoutError) as error:
                problem = str(error) or type(error).__name__
                may_repeat = safe or isinstance(error, aiohttp.ClientConnectorError)
                if not may_repeat or loop.time() >= ends_at:
                    done = "" if may_repeat else "; what was asked may be done"
                    raise StoreUnreachable(f"{self.url} cannot be reached: {problem}{done}") from error
            await asyncio.sleep(min(retries.delay(attempt), max(0.0, ends_at - loop.time())))
        if status >= 400:
            raise error_of(self.url, status, found)
        return msgspec.json.decode(found, type=kind) if found else msgspec.convert(None, kind)

    async def _send(self, method: str, path: str, body: object, headers: Mapping[str, str]) -> tuple[int, bytes]:
        options: dict[str, Any] = {"headers": dict(headers)}
        if method in ("POST", "PUT", "PATCH"):
            options["data"] = msgspec.json.encode({} if body is None else body)
            options["headers"]["content-type"] = "application/json"
        async with asyncio.timeout(ANSWER_S), self._open().request(method, self._place(path), **options) as response:
            return response.status, await response.read()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            raise EngineClosed("the client is not open; use `async with durable.Client(url, token) as client`")
        return self._session

    def _place(self, path: str) -> Any:
        from yarl import URL  # aiohttp's own: what is quoted here stays as it is

        return URL(f"{self.url}/api/v1{path}", encoded=True)

    async def _events(self, path: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """The events of a stream, which is opened again behind the last one when it ends or is cut off."""
        import aiohttp

        retries, loop = Retries(RETRY_FIRST_S, RETRY_MAX_S), asyncio.get_running_loop()
        last, attempt, heard_at = "", 0, loop.time()
        while True:
            headers = {"last-event-id": last} if last else {}
            try:
                async with self._open().get(self._place(path), headers=headers) as response:
                    if response.status >= 400 and response.status not in _BUSY:
                        raise error_of(self.url, response.status, await response.read())
                    if response.status == 200:
                        async for id, kind, data in _read_events(response):
                            last, attempt, heard_at = id, 0, loop.time()
                            yield kind, data
                            if kind == "end":
                                return
                        heard_at = loop.time()  # it ended by its age
            except (aiohttp.ClientError, TimeoutError) as error:
                if loop.time() - heard_at > self._patience_s:
                    raise StoreUnreachable(f"{self.url} cannot be reached: {error}") from error
            await asyncio.sleep(retries.delay(attempt))
            attempt += 1


async def _read_events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, str, dict[str, Any]]]:
    """The id, kind and document of each server-sent event."""
    buffer = b""
    async for chunk in response.content.iter_any():
        *blocks, buffer = (buffer + chunk).split(b"\n\n")
        for block in blocks:
            lines = dict(line.split(": ", 1) for line in block.decode("ascii").splitlines() if ": " in line)
            if "data" in lines:
                yield lines.get("id", ""), lines.get("event", ""), msgspec.json.decode(lines["data"])


def _value_of(found: api_models.ExecutionOutcome) -> Any:
    """The value of what has ended, or its error."""
    if found.error is not None:
        raise failure_of(found.id, found.error)
    if not found.ended:
        raise Halted(found.id, found.halted or "")
    return found.value


def _seconds(given: float | timedelta | None) -> float | None:
    return given.total_seconds() if isinstance(given, timedelta) else given


def _part(text: str) -> str:
    """A part of a path."""
    return quote(text, safe="")
