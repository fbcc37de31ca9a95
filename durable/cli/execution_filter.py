"""The options by which commands choose executions, and what many of them are shown as before they are changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, get_args

import click

from durable.cli.upkeep_options import Duration
from durable.executions.states import ExecutionState

if TYPE_CHECKING:
    from durable.cli.text_output import Out
    from durable.executions.execution_search import ExecutionFilter
    from durable.store.port import StoreFace
    from durable.store.rows import ExecutionRow

STATES = [state.value for state in ExecutionState]
NAMES = ("state", "session", "function", "where", "text", "since", "until")
"""The options that choose; one of them at least has to be given where many are changed."""

_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--state", type=click.Choice(STATES), help="Only those in this state."),
    click.option("--session", metavar="NAME", help="Only cells of this session."),
    click.option("--function", metavar="NAME", help="Only those of this function: its name, or where::name@version."),
    click.option(
        "--where",
        "--tag",
        "where",
        multiple=True,
        metavar="TAG=VALUE",
        help="Only those that have this tag; repeatable.",
    ),
    click.option("--text", metavar="WORDS", help="Only those with these words in id, arguments, result, error, tags."),
    click.option("--since", type=Duration(), metavar="AGE", help="Only those made within this time: 30d, 12h, 90m."),
    click.option("--until", type=Duration(), metavar="AGE", help="Only those made before that."),
)


def filtering[F: Callable[..., Any]](command: F) -> F:
    """Give a command the options that choose; its function gets them by name."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def many[F: Callable[..., Any]](command: F) -> F:
    """Give a command that changes what is chosen --limit and --dry-run as well."""
    limit = click.option(
        "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Of many: so many, the newest."
    )
    dry_run = click.option("--dry-run", is_flag=True, help="Of many: only show which they are.")
    return filtering(limit(dry_run(command)))


def filter_of(
    *,
    state: str | None = None,
    session: str | None = None,
    function: str | None = None,
    where: tuple[str, ...] = (),
    text: str | None = None,
    since: float | None = None,
    until: float | None = None,
) -> ExecutionFilter:
    """The filter that the options say. click.UsageError."""
    from durable.core.clock import now_ms
    from durable.executions.execution_search import ExecutionFilter
    from durable.store.rows import State

    now = now_ms()
    word: State | None = next((each for each in get_args(State.__value__) if each == state), None)
    return ExecutionFilter(
        state=word,
        session=session,
        function=function,
        tags=tuple(map(_tag, where)),
        since=None if since is None else now - int(since * 1000),
        until=None if until is None else now - int(until * 1000),
        text=text or "",
    )


def named_options(**options: Any) -> list[str]:
    """The names of the options that choose, of those that are given: `--until 0s` is one."""
    return [name for name in NAMES if options.get(name) not in (None, "", ())]


def chooses_many(execution_id: str | None, **options: Any) -> bool:
    """Whether a command means many executions: it has options that choose in place of an ID. click.UsageError."""
    given = named_options(**options)
    if execution_id is not None and given:
        raise click.UsageError(f"name an ID, or choose by --{given[0]}; not both")
    if execution_id is None and not given:
        raise click.UsageError(f"name an ID, or choose by {', '.join(f'--{name}' for name in NAMES)}")
    return execution_id is None


async def chosen_rows(
    store: StoreFace,
    wanted: ExecutionFilter,
    limit: int,
    states: Iterable[str] = (),
    counts: Callable[[ExecutionRow], Awaitable[bool]] | None = None,
) -> list[ExecutionRow]:
    """The newest executions that are meant, as many as `limit` says. states: only those in one of these count, and of
    them those of which `counts` says so."""
    from msgspec.structs import replace

    if not states or wanted.state is not None:
        return [row for row in await _rows(store, wanted, limit, counts) if not states or row.state in states]
    found: list[ExecutionRow] = []
    for state in sorted(states):
        found += await _rows(store, replace(wanted, state=state), limit, counts)
    return sorted(found, key=lambda row: row.created_at, reverse=True)[:limit]


async def _rows(
    store: StoreFace,
    wanted: ExecutionFilter,
    limit: int,
    counts: Callable[[ExecutionRow], Awaitable[bool]] | None = None,
) -> list[ExecutionRow]:
    from durable.executions.execution_search import search

    found: list[ExecutionRow] = []
    cursor: str | None = None
    while len(found) < limit:
        page = await search(store.reads, wanted, limit=limit - len(found), before=cursor)
        found += [row for row in page if counts is None or await counts(row)]
        cursor = page.cursor
        if cursor is None:
            break
    return found


async def named_or_chosen(
    store: StoreFace, execution_id: str | None, wanted: ExecutionFilter, limit: int, states: Iterable[str] = ()
) -> list[ExecutionRow]:
    """The execution that is named, or those that are meant. NotFound."""
    from durable.cli.execution_status import find

    if execution_id is not None:
        return [await find(store.reads, execution_id)]
    return await chosen_rows(store, wanted, limit, states)


def tell_changed(out: Out, changed: list[str], chosen: int, state: str) -> int:
    """Say which of so many executions have this state now; the exit code is not 0 where some have not."""
    from durable.cli import exit_codes
    from durable.cli.text_output import counted

    if out.json:
        out.document([{"id": each, "state": state} for each in changed])
    else:
        out.say(f"{counted(len(changed), 'execution')} of {chosen} {state}")
    return exit_codes.DONE if len(changed) == chosen else exit_codes.CONFLICT


async def preview(out: Out, store: StoreFace, rows: list[ExecutionRow]) -> int:
    """Show what would be changed."""
    from durable.cli.tables import show_executions

    return await show_executions(out, store, rows, "none is chosen")


def _tag(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"{text!r} is not TAG=VALUE")
    return name, value
