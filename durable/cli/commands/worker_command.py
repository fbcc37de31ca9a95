"""`durable worker MODULE|FILE… [--queues NAMES] [--concurrency N] [--drain-timeout SECONDS] [--health HOST:PORT]`"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, in_loop, settings
from durable.cli.text_output import counted
from durable.core.limits import TASKS_MAX

if TYPE_CHECKING:
    from durable.cli.text_output import Out
    from durable.engine.engine import Engine

DRAIN_S = 30.0
"""For what runs to end or to wait, when a worker is told to end: as long as supervisors usually give it."""

REQUEST_S = 5.0
"""For the request of whoever asks how the worker is."""

_RELOAD = -1
"""In place of an exit code: begin again with today's code."""


@click.command("worker", cls=Command, short_help="Run durable functions until told to end.")
@click.argument("sources", metavar="MODULE|FILE...", nargs=-1, required=True)
@click.option("--concurrency", type=click.IntRange(min=1), default=TASKS_MAX, show_default=True, metavar="N",
              help="Executions at a time; those that wait do not count.")  # fmt: skip
@click.option("--queues", metavar="NAME,...", help="Take executions of these queues only, and no sessions.")
@click.option("--deployment", metavar="NAME", envvar="DURABLE_DEPLOYMENT",
              help="What this code is called: what it began stays with it, new work goes to the newest.")  # fmt: skip
@click.option("--drain-timeout", type=click.FloatRange(min=0), default=DRAIN_S, show_default=True, metavar="SECONDS",
              help="After SIGTERM: how long what runs may go on before others get it.")  # fmt: skip
@click.option("--health", metavar="HOST:PORT", help="Answer GET /health there: 200 while it takes work, else 503.")
@click.option("--check", is_flag=True, help="Only load the modules: whether a reload would succeed.")
def command(
    sources: tuple[str, ...],
    concurrency: int,
    queues: str | None,
    deployment: str | None,
    drain_timeout: float,
    health: str | None,
    check: bool,
) -> int:
    """Serve every durable function of the modules, and sessions, until SIGTERM or Ctrl-C.

    Then it takes nothing new, lets what runs end, and ends. SIGHUP does the same and begins again with today's code, if
    that can be loaded. A second SIGTERM ends at once; nothing is lost by it.
    """
    chosen = settings()
    _load(chosen.out(), sources)
    if check:
        return exit_codes.DONE
    place = None if health is None else _host_and_port(health)
    options = {
        "concurrency": concurrency,
        "queues": None if queues is None else _names(queues),
        "deployment": deployment,
    }
    code = in_loop(lambda: _work(chosen, options, drain_timeout, place))
    if code == _RELOAD:
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this very command
    return code


def _names(queues: str) -> list[str]:
    from durable.queues.queue import check_queue_name

    return [check_queue_name(name.strip()) for name in queues.split(",")]


def _load(out: Out, sources: Sequence[str]) -> None:
    from durable.cli.load_target import load, place_of

    out.protect()
    for source in sources:
        load(place_of(source))


def _host_and_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise click.UsageError(f"--health {text!r} is not HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


async def _work(chosen: Settings, options: dict[str, Any], drain_s: float, health: tuple[str, int] | None) -> int:
    from durable.actors.names import PREFIX
    from durable.cli.engine_or_client import open_engine
    from durable.functions.definition import KNOWN

    out = chosen.out()
    told: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, told.put_nowait, number)
    async with open_engine(chosen, out, serve=True, create=True, **options) as engine:
        state = {"status": "ok"}
        async with _answering(engine, state, health) as url:
            names = sorted({function.id for function in KNOWN.values() if function.startable})
            actors = sorted({each.name.removeprefix(PREFIX) for each in KNOWN.values() if each.companion is not None})
            out.say(f"serving {counted(len(names), 'function')}: {', '.join(names)}")
            if actors:
                out.say(f"serving {counted(len(actors), 'class of actors', 'classes of actors')}: {', '.join(actors)}")
            if out.json:
                out.document({"engine": engine.engine_id, "functions": names, "actors": actors, "health": url})
            elif url is not None:
                out.data(url)
            ended_by = await _end(out, told)
            state["status"] = "draining"
            out.say("taking nothing new; what runs goes on" + (f" for at most {drain_s:g} s" if drain_s else ""))
            draining = asyncio.ensure_future(engine.drain(drain_s))
            again = asyncio.ensure_future(told.get())
            await asyncio.wait({draining, again}, return_when=asyncio.FIRST_COMPLETED)
            again.cancel()
            if not draining.done() or not draining.result():
                out.say(f"still running, to go on elsewhere: {engine.running}")
            draining.cancel()
    return _RELOAD if ended_by == signal.SIGHUP else exit_codes.DONE


async def _end(out: Out, told: asyncio.Queue[int]) -> int:
    """The signal that ends the work; a reload does only where the modules can be loaded."""
    while True:
        number = await told.get()
        if number != signal.SIGHUP:
            return number
        arguments = [sys.executable, *sys.orig_argv[1:], "--check"]
        check = await asyncio.create_subprocess_exec(*arguments, stdin=asyncio.subprocess.DEVNULL)
        if await check.wait() == 0:
            return number
        out.say("today's code cannot be loaded; going on with what is loaded")


@asynccontextmanager
async def _answering(engine: Engine, state: dict[str, str], place: tuple[str, int] | None) -> AsyncIterator[str | None]:
    """Answer how the worker is; the URL."""
    if place is None:
        yield None
        return

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_S):
                request = await reader.readline()
            known = request.split(b" ")[:2] in ([b"GET", b"/health"], [b"HEAD", b"/health"])
            status = (
                "404 Not Found" if not known else "200 OK" if state["status"] == "ok" else "503 Service Unavailable"
            )
            body = json.dumps({**state, "running": engine.running, "engine": engine.engine_id}) if known else "{}"
            head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            writer.write(f"{head}connection: close\r\n\r\n{'' if request.startswith(b'HEAD') else body}".encode())
            await writer.drain()
        except (OSError, TimeoutError, ValueError):
            pass  # whoever asked is gone, says nothing, or sends a line without end
        finally:
            writer.close()

    server = await asyncio.start_server(answer, *place)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}/health"
