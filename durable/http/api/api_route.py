"""A route of the API as a table row: who may, what it takes, what it answers. The server, the document and the tests
read the same rows."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec

from durable.core import ids
from durable.core.errors import BadArguments, NotFound
from durable.http.access.roles import Role, TokenHolder
from durable.http.api.problems import Refusal

if TYPE_CHECKING:
    from durable.http.api.server_engine import ServerEngine
    from durable.http.server_state import Site
    from durable.store.direct_store import DirectStore
    from durable.store.reads import Reads
    from durable.store.rows import ExecutionRow, SessionRow

PAGE_ROWS_MAX = 1_000
PAGE_ROWS = 100

type Limit = Annotated[int, msgspec.Meta(ge=1, le=PAGE_ROWS_MAX, description="At most so many.")]
type Cursor = Annotated[str, msgspec.Meta(max_length=4_096, description="`next` of the page before.")]


class RouteQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters behind `?`; none. REPEATED: those that may be given several times, as lists."""

    REPEATED: ClassVar[frozenset[str]] = frozenset()


class PageQuery(RouteQuery, frozen=True, kw_only=True):
    """A page of a list."""

    limit: Limit = PAGE_ROWS
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with another status than usual, or with more headers."""

    document: object
    status: int
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class ApiCall:
    """One request to the API, checked: who asks, for what, with which parameters and body."""

    site: Site
    holder: TokenHolder
    params: dict[str, str]
    query: Any
    body: Any
    key: str | None
    """The header `Idempotency-Key`."""
    last_event_id: str | None

    @property
    def store(self) -> DirectStore:
        """The store that is served."""
        return self.site.store

    @property
    def reads(self) -> Reads:
        """Its reads."""
        return self.site.store.reads

    async def engine(self) -> ServerEngine:
        """The server's own engine, which at least records what engines elsewhere do."""
        from durable.http.api.server_engine import server_engine

        return await server_engine(self.site)

    def chosen_id(self, given: str | None) -> str | None:
        """The id of what is to be made: that of the body, else the Idempotency-Key. BadArguments where they differ."""
        if given is not None and self.key is not None and given != self.key:
            raise BadArguments("id in the body and the header Idempotency-Key name two ids; leave one of them out")
        return given if given is not None else self.key

    async def execution(self) -> ExecutionRow:
        """The execution that the path names. NotFound."""
        name = self.params["id"].removeprefix(ids.PREFIX)
        ids.execution_promise(name)
        row = await self.reads.get_execution(name)
        if row is None:
            raise NotFound("execution", name, "GET /api/v1/executions lists them")
        return row

    async def session(self) -> SessionRow:
        """The session that the path names. NotFound, for a closed one too."""
        row = await self.reads.session(self.params["name"])
        if row is None or row.closed or row.name.startswith(ids.MAILBOX):
            raise NotFound("session", self.params["name"], "GET /api/v1/sessions lists them")
        return row


type Handler = Callable[[ApiCall], Awaitable[object]]

type Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """A route. `role` None: everybody, without a token. `answer`: the type of the document that is answered with
    `status`; None for no document. `refusals`: statuses of problems beside those that every route has."""

    method: Method
    path: str
    role: Role | None
    handler: Handler
    answer: Any
    query: type[RouteQuery] = RouteQuery
    body: type[msgspec.Struct] | None = None
    status: int = 200
    also: tuple[int, ...] = ()
    """Other statuses with the same document."""
    refusals: tuple[int, ...] = ()
    stream: bool = False
    """The answer is a stream of server-sent events, each with a document of the type `answer`."""

    @property
    def name(self) -> str:
        """The operation's name in the document, and in the audit."""
        return self.handler.__name__

    @property
    def tag(self) -> str:
        """The noun that it is about: the first word of the path."""
        return self.path.split("/")[1]

    @property
    def places(self) -> list[str]:
        """The names in the path."""
        return re.findall(r"\{(\w+)\}", self.path)

    @property
    def summary(self) -> str:
        """The first line of its documentation."""
        return (inspect.getdoc(self.handler) or "").partition("\n")[0]

    @property
    def description(self) -> str:
        """Its documentation."""
        return inspect.getdoc(self.handler) or ""

    def problems(self) -> list[int]:
        """Every status of a problem that it may be answered with."""
        found = {400, 403, 421, 429, 431, 503, *self.refusals}
        if self.role is not None:
            found.add(401)
        if self.places:
            found.add(404)
        if self.body is not None:
            found |= {413, 415}
        return sorted(found)


async def within(seconds: float, wait: Awaitable[Any], what: str) -> Any:
    """The outcome of `wait` within so many seconds; Refusal 409 BUSY after that."""
    try:
        async with asyncio.timeout(seconds) as scope:
            return await wait
    except TimeoutError:
        if not scope.expired():
            raise
        raise Refusal(
            409, "BUSY", f"{what} was busy for {seconds:g} s; try again, or interrupt what runs there"
        ) from None
