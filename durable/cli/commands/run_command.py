"""`durable run FILE::FUNC ARGS…`"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from durable.cli.command_group import Command, Settings, in_loop, settings
from durable.cli.text_output import Out
from durable.cli.upkeep_options import Duration
from durable.core import ids

if TYPE_CHECKING:
    from durable.engine.engine import Engine
    from durable.store.rows import ExecutionRow


@click.command(
    "run",
    cls=Command,
    context_settings={"ignore_unknown_options": True},
    short_help="Run a durable function and wait for it.",
)
@click.argument("target", metavar="FILE::FUNC")
@click.argument("words", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
@click.option("--id", "execution_id", metavar="ID", help="Its id: start it once, attach to it ever after.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Deadline in seconds.")
@click.option("--queue", metavar="NAME", help="Put it into this queue: it begins when that lets it.")
@click.option("--key", default="", metavar="KEY", help="With --queue: whose it is; keys take turns.")
@click.option("--priority", type=int, default=0, metavar="N", help="With --queue: higher ones begin first.")
@click.option("--delay", type=Duration(), metavar="TIME", help="With --queue: it does not begin before: 30s, 5m.")
@click.option(
    "--dedupe", metavar="WORD", help="With --queue: while another one of it has the same, that is the answer."
)
@click.option(
    "--debounce", type=Duration(), metavar="TIME", help="With --dedupe: begin when so long none was put there."
)
@click.option(
    "--signal", "signals", multiple=True, metavar="NAME=JSON", help="Send it this signal with its start; repeatable."
)
@click.option("--detach", is_flag=True, help="Record it, print its id, and do not wait: a worker runs it.")
def command(
    target: str,
    words: tuple[str, ...],
    execution_id: str | None,
    timeout: float | None,
    queue: str | None,
    signals: tuple[str, ...],
    detach: bool,
    **place: Any,
) -> int:
    """Run the durable function FUNC of FILE and wait for its result.

    ARGS are JSON where they parse, else text. Keyword arguments are written key=value or --key value.
    The same ID again attaches to the run, goes on with it after a crash, and prints its result once it has ended.
    --signal NAME=JSON is sent once to a run, however often the same command is repeated; NAME alone sends null.
    With --detach it runs in a living engine, or as soon as there is one: `durable worker FILE`.
    """
    if execution_id is not None:
        ids.check_given_id(execution_id)
    given = [f"--{name}" for name, value in place.items() if value not in ("", 0, None)]
    if queue is None and given:
        raise click.UsageError(f"{given[0]} is of an execution in a --queue")
    chosen = settings()
    begun = _Begun(execution_id or ids.mint_execution_id(), timeout, queue, place, tuple(map(_signal, signals)), detach)
    return in_loop(lambda: _run(chosen, target, words, begun))


@dataclass(frozen=True, slots=True)
class _Begun:
    """How an execution begins: its id, its deadline in seconds, its place in a queue, signals that it is sent, and
    whether nobody waits for it."""

    id: str
    timeout: float | None
    queue: str | None
    place: dict[str, Any]
    signals: tuple[tuple[str, Any], ...]
    detach: bool


def _signal(text: str) -> tuple[str, Any]:
    """The name and the value of `--signal`: JSON where it parses, else text."""
    from durable.cli.arguments import Word
    from durable.core.limits import SIGNAL_NAME_CHARS_MAX

    name, equals, value = text.partition("=")
    if not 1 <= len(name) <= SIGNAL_NAME_CHARS_MAX:
        raise click.UsageError(
            f"--signal {text[:100]!r} is not NAME=JSON, the name of 1 to {SIGNAL_NAME_CHARS_MAX} characters"
        )
    return name, Word(value).value if equals else None


async def _send(out: Out, engine: Engine, execution_id: str, signals: tuple[tuple[str, Any], ...]) -> None:
    """Send each once: under a key of its name, its value, and its number among those that are alike.

    One that has ended by then, without taking them, has its result all the same.
    """
    from durable.core.errors import Conflict
    from durable.records.values import digest

    alike = Counter[str]()
    for name, value in signals:
        same = digest(name, value)
        alike[same] += 1
        try:
            await engine.signal(execution_id, name, value, key=f"run-{same}-{alike[same]}")
        except Conflict as error:
            out.say(f"the signal {name!r} is not sent: {error}")


async def _run(chosen: Settings, target: str, words: tuple[str, ...], begun: _Begun) -> int:
    from durable.cli.engine_or_client import opened
    from durable.cli.load_target import split_target
    from durable.cli.report import report_settled
    from durable.core.errors import StoreMissing

    out = chosen.out()
    source, name = split_target(target)
    try:
        async with opened(chosen, create=False) as store:
            row = await store.reads.get_execution(begun.id)
    except StoreMissing:
        row = None
    if row is not None and row.settled_at is not None and _is_same(row, source, name, words):
        if begun.signals:
            out.say(f"{row.id} has ended before: no signal is sent")
        if not begun.detach:
            return report_settled(out, row)
        out.say(f"{row.id} has ended before")
        return _told(out, row)
    return await _drive(chosen, out, source, name, words, begun)


def _is_same(row: ExecutionRow, source: str, name: str, words: tuple[str, ...]) -> bool:
    """Whether the record is of this function and arguments, as far as can be told without loading it."""
    from durable.cli.arguments import parse
    from durable.core.definition_id import another_program, is_served, source_of, spellings, where_of_file
    from durable.records.values import digest

    key, _, version = row.function.rpartition("@")
    place = where_of_file(source) if os.path.isabs(source) else source
    function, recorded = f"{place}::{name}@{version}", source_of(row.function, row.tags)
    if key != name and not is_served(row.function, spellings(function)):
        return False
    if recorded is None or (key == name and recorded != source):
        return False  # whether the file has a function of that given name is seen when it is loaded
    if another_program(row.function, recorded, function, source):
        return False
    for names in (None, ()):
        args, kwargs = parse(words, names)
        named = {key: word.value for key, word in kwargs.items()}
        if row.tags.get("durable:arguments") == digest([word.value for word in args], named):
            return True
    return False


async def _drive(
    chosen: Settings,
    out: Out,
    source: str,
    name: str,
    words: tuple[str, ...],
    begun: _Begun,
) -> int:
    from durable.cli.arguments import fit
    from durable.cli.engine_or_client import CommandWork, drive
    from durable.cli.execution_wait import say_kept
    from durable.cli.load_target import found_or_shown
    from durable.cli.open_prompts import asker
    from durable.cli.progress import Steps
    from durable.cli.report import report

    out.protect()
    function = found_or_shown(out, source, name)
    args, kwargs = fit(function, words)
    function.pack(tuple(args), dict(kwargs))  # what does not fit is said before anything is opened
    steps = Steps(out)
    execution_id = begun.id

    async def begin(engine: Engine) -> str:
        nonlocal execution_id
        exists = await steps.begin(engine, execution_id)
        if begun.queue is None:
            await engine.start(function, *args, id=execution_id, timeout=begun.timeout, **kwargs)
        else:
            place = {**begun.place, "timeout": begun.timeout}
            put = await engine.enqueue(begun.queue, function, *args, id=execution_id, **place, **kwargs)
            exists = exists or put.id != execution_id
            execution_id = put.id  # another one, where that has the same `dedupe`
        await _send(out, engine, execution_id, begun.signals)
        if exists:
            await steps.say_goes_on(engine, execution_id)
        else:
            # Told as soon as it is recorded: after a crash a minted id is all one needs.
            out.say(f"{function.name} runs as {execution_id}")
        return execution_id

    if begun.detach:
        return await _record(chosen, out, source, begin)
    job = CommandWork(begin, frozenset((function.id,)), steps, asker(chosen, out), create=True)
    try:
        standing = await drive(chosen, out, job)
    except BaseException as error:
        if not isinstance(error, Exception):
            await say_kept(chosen, out, execution_id)
        raise
    return report(chosen, out, execution_id, standing)


async def _record(chosen: Settings, out: Out, source: str, begin: Callable[[Engine], Awaitable[str]]) -> int:
    """Record it for whoever runs its function, now or later."""
    from durable.cli.engine_or_client import open_engine
    from durable.cli.execution_status import needs_of, served

    async with open_engine(chosen, out, serve=False) as engine:
        execution_id = await begin(engine)
        row = await engine.store.reads.get_execution(execution_id)
        assert row is not None
        if row.settled_at is None and not (await served(engine.store)).serve(
            await needs_of(engine.store.reads, row.id)
        ):
            out.say(f"no engine runs it now: `durable worker {source}` does, and `durable result {row.id}`")
    return _told(out, row)


def _told(out: Out, row: ExecutionRow) -> int:
    from durable.cli.exit_codes import DONE

    if out.json:
        out.document({"id": row.id, "state": row.state})
    else:
        out.text(row.id)
    return DONE
