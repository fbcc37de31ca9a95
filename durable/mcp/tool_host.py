"""The engine as the tools see it: sessions made safely, executions waited for, what was used counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from bridge.confine.limits import Limits, Profile
from durable.core import ids
from durable.core.clock import now_ms
from durable.core.errors import Busy, Conflict, Halted, NotFound, StoreRefused
from durable.core.limits import MCP_CALLS_MAX, MCP_LOOK_REST_S
from durable.engine.engine import Engine
from durable.engine.views import ServedFunctions, answer_command, iso
from durable.functions.definition import Function
from durable.mcp.clients import ClientScope
from durable.mcp.tool_results import QuestionView
from durable.prompts.open_prompt import OpenPrompt
from durable.prompts.signed_links import links_for
from durable.sessions.language import Language, language_of
from durable.sessions.session import Session
from durable.store.rows import ExecutionRow

DEFAULT_LIMITS = Limits(memory=2**30, cpu=3_600, wall=6 * 3_600, output=64 * 2**20, files=256, processes=64)
"""Of sessions that an agent makes: a large analysis fits, a runaway one ends. The machine is somebody else's too."""

OPEN_LIMITS = replace(DEFAULT_LIMITS, processes=None)
"""The same for the profile `open`, where not every machine can count processes."""

_APPROVING = ("approve", "review")


@dataclass(frozen=True, slots=True)
class McpOptions:
    """The options of one server. Sessions get profile, limits and grants when they are made.

    functions: what `start` may start, by the name that clients use. read_only: only tools that change nothing.
    approvals: agents may answer approvals by the tool `answer`, which are otherwise left to people. answers_at: the URL
    of `durable serve` as people reach it; questions then have links.
    """

    profile: Profile = "isolated"
    limits: Limits | None = None
    """None for DEFAULT_LIMITS, or OPEN_LIMITS."""
    grants: tuple[str, ...] = ()
    functions: Mapping[str, Function[..., Any]] = field(default_factory=dict)
    read_only: bool = False
    approvals: bool = False
    answers_at: str | None = None
    store_named: str | None = None
    """The store to name in commands that people are shown; None for the default one."""


@dataclass(frozen=True, slots=True)
class ToolStanding:
    """How an execution stands: `row`, and the questions without whose answers it cannot go on, its own or of a cell
    that stands before it in its session. `halt`: why it is interrupted."""

    row: ExecutionRow
    prompts: tuple[OpenPrompt, ...] = ()
    halt: str = ""

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.row.settled_at is not None


@dataclass(slots=True)
class UseCounter:
    """The calls of one tool, errors included."""

    calls: int = 0
    errors: int = 0
    total_ms: float = 0.0


class ToolHost:
    """One engine, as the clients of an MCP server may use it."""

    def __init__(self, engine: Engine, options: McpOptions) -> None:
        self.engine = engine
        self.options = options
        self.use: dict[str, UseCounter] = {}
        self._running = 0

    @asynccontextmanager
    async def counted(self, tool: str) -> AsyncIterator[UseCounter]:
        """A call of a tool. Busy when there are too many."""
        if self._running >= MCP_CALLS_MAX:
            raise Busy(f"{MCP_CALLS_MAX} calls are running; try again")
        counter, began = self.use.setdefault(tool, UseCounter()), time.monotonic()
        self._running += 1
        try:
            yield counter
        finally:
            self._running -= 1
            counter.calls += 1
            counter.total_ms += (time.monotonic() - began) * 1000

    # -- sessions -----------------------------------------------------------------------------------------------------

    async def session(self, scope: ClientScope, name: str, language: Language | None = None) -> Session:
        """The session of that name, made when it is missing. Conflict where it is held less strictly than is allowed
        here, or is in another language."""
        full = scope.session(name)
        held = await self._options_of(full)
        if held is not None:
            self._check_profile(name, held)
            return await self.engine.session(full, language=language)
        options = self.options
        usual = DEFAULT_LIMITS if options.profile == "isolated" else OPEN_LIMITS
        return await self.engine.session(
            full, profile=options.profile, limits=options.limits or usual, grants=options.grants, language=language
        )

    async def existing(self, scope: ClientScope, name: str) -> Session:
        """A session that is there. NotFound, Conflict."""
        full = scope.session(name)
        held = await self._options_of(full)
        if held is None:
            raise NotFound("session", name, "`session_list` lists them")
        self._check_profile(name, held)
        return await self.engine.session(full)

    async def _options_of(self, session: str) -> dict[str, Any] | None:
        try:
            found = (await self.engine.store.request("session.get", {"session": session})).data
        except StoreRefused as error:
            if error.status == 404:
                return None
            raise
        return None if found.get("closed") else dict(found.get("options") or {})

    def _check_profile(self, name: str, held: Mapping[str, Any]) -> None:
        """Agents get no session that is held less strictly than those they make."""
        if self.options.profile == "isolated" and held.get("profile") != "isolated":
            raise Conflict(
                f"session {name!r} is not isolated, and agents of this server get isolated sessions only; "
                "use another session, or start the server with --profile open"
            )

    def session_of(self, row: ExecutionRow) -> Session:
        """The session of an execution, as far as its results are read."""
        assert row.session is not None
        return Session(self.engine, row.session, (), "python")

    async def language_of(self, session: str) -> Language:
        """The language of a session's cells."""
        return language_of(await self._options_of(session) or {})

    # -- executions ---------------------------------------------------------------------------------------------------

    async def row(self, scope: ClientScope, execution: str) -> ExecutionRow:
        """An execution of this client's. NotFound."""
        execution_id = scope.execution(execution)
        row = await self.engine.store.reads.get_execution(execution_id)
        if row is None or (row.session is not None and not scope.has(row.session)):
            raise NotFound("execution", execution)
        return row

    async def standing(self, execution_id: str, wait_s: float, ignored: frozenset[str] = frozenset()) -> ToolStanding:
        """How it stands when it has ended, cannot go on without a person, is halted, or the time is over.

        ignored: questions for which somebody is being asked already.
        """
        engine, loop = self.engine, asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        promise_id = ids.execution_promise(execution_id)
        settled = asyncio.ensure_future(engine.store.settled(promise_id, halts=True, patient=False))
        try:
            while True:
                change = engine.changed()
                row = await engine.store.reads.get_execution(execution_id)
                if row is None:
                    raise NotFound("execution", execution_id)
                if row.settled_at is not None:
                    return ToolStanding(row)
                if settled.done():
                    return ToolStanding(await self._fresh(execution_id), halt=_halt(settled))
                prompts = await self._blocking(row)
                left = deadline - loop.time()
                if left <= 0 or (prompts and not all(each.id in ignored for each in prompts)):
                    return ToolStanding(row, prompts)
                either: set[asyncio.Future[Any]] = {settled, change}
                await asyncio.wait(either, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait({settled}, timeout=min(MCP_LOOK_REST_S, max(deadline - loop.time(), 0)))
        finally:
            settled.cancel()

    async def _fresh(self, execution_id: str) -> ExecutionRow:
        row = await self.engine.store.reads.get_execution(execution_id)
        if row is None:
            raise NotFound("execution", execution_id)
        return row

    async def _blocking(self, row: ExecutionRow) -> tuple[OpenPrompt, ...]:
        """The questions that keep it waiting, those of the cell before it in its session included."""
        found = await self.engine.blocking_prompts(row.id)
        if found is None and row.state == "pending" and row.session is not None:
            reads = self.engine.store.reads
            for before in await reads.list_executions(session=row.session, state="waiting", limit=1):
                found = await self.engine.blocking_prompts(before.id)
        if not found:
            return ()
        wanted = set(found)
        return tuple(each for each in await self.engine.prompts() if each.id in wanted)

    async def served(self) -> ServedFunctions:
        """The functions that living engines serve."""
        store = self.engine.store
        return ServedFunctions.by(await store.reads.engines(), store.engine_alive)

    # -- questions ----------------------------------------------------------------------------------------------------

    def for_people(self, prompt: OpenPrompt) -> bool:
        """Whether an agent may not answer it: secrets, approvals, and what named persons are asked."""
        asked = prompt.prompt
        if asked.secret or asked.to or asked.needed() > 1:
            return True
        return asked.form in _APPROVING and not self.options.approvals

    def question(self, prompt: OpenPrompt) -> QuestionView:
        """A question as clients see it."""
        asked, for_people = prompt.prompt, self.for_people(prompt)
        return QuestionView(
            prompt=prompt.id,
            execution=prompt.execution,
            question=asked.question,
            context=asked.context,
            choices=asked.choices,
            answer_schema=asked.json_schema,
            asked_at=iso(prompt.created_at) or "",
            for_people=for_people,
            link=None if for_people else self._link(prompt),
            command=answer_command(prompt.id, self.options.store_named),
        )

    def _link(self, prompt: OpenPrompt) -> str | None:
        """The link by which anybody may answer; approvals have none here, since whoever has it can approve."""
        if self.options.answers_at is None:
            return None
        links = links_for(prompt.id, prompt.prompt, prompt.created_at, prompt.timeout_at, now_ms())
        signed = next((link.sign(self.engine.store.key) for link in links if link.who is None), None)
        where = f"{self.options.answers_at.rstrip('/')}/prompts/{quote(prompt.id, safe='')}/answer"
        return None if signed is None else f"{where}?link={signed}"

    async def open_prompt(self, scope: ClientScope, prompt_id: str) -> OpenPrompt | None:
        """An open question of this client's; None when it is settled. NotFound."""
        scope.prompt(prompt_id)
        return next((each for each in await self.engine.prompts() if each.id == prompt_id), None)


def _halt(settled: asyncio.Future[Any]) -> str:
    """Why what was waited for is halted; raises what else went wrong."""
    error = settled.exception()
    if error is None:
        return ""
    if isinstance(error, Halted):
        return str(error)
    raise error
