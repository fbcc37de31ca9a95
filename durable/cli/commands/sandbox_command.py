"""`durable sandbox run|health|install`"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from capabilities.sandbox.routing import CHOICES
from durable.cli import exits
from durable.cli.app import Command, Settings, in_loop, settings
from durable.cli.exits import Unusable


@click.group("sandbox", short_help="Foreign code: run, health, install.")
def command() -> None:
    """Foreign code, run once, with nothing but what it is given."""


@command.command("run", cls=Command)
@click.argument("file", metavar="FILE|-")
@click.option("--language", type=click.Choice(CHOICES), default="auto", help="auto: what the code looks like.")
@click.option("--input", "inputs", multiple=True, metavar="NAME=VALUE", help="A global; JSON where it parses as JSON.")
@click.option("--grant", "grants", multiple=True, metavar="CAPABILITY", help="What it may ask for.")
@click.option("--execution", default="", metavar="ID", help="Record its host calls in the store; again, it goes on.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Deadline in seconds.")
@click.option("--memory", type=click.IntRange(min=1), metavar="MIB", help="Memory in MiB.")
def run(
    file: str,
    language: str,
    inputs: tuple[str, ...],
    grants: tuple[str, ...],
    execution: str,
    timeout: float | None,
    memory: int | None,
) -> int:
    """Run FILE, or stdin. Its output comes as it was printed, the value of its last expression last."""
    chosen = settings()
    code = _code(file)
    given = dict(_input(each) for each in inputs)
    return in_loop(lambda: _run(chosen, code, language, given, grants, execution, timeout, memory))


@command.command("health", cls=Command)
def health() -> int:
    """Which kinds of code can be run here. Exit 1 when none can."""
    chosen = settings()
    return in_loop(lambda: _health(chosen))


@command.command("install", cls=Command)
def install() -> int:
    """Bring JavaScript's engine, with npm, when the package was built without it."""
    from capabilities.javascript import quickjs
    from capabilities.sandbox.errors import SandboxUnavailable

    out = settings().out()
    try:
        if not quickjs.present():
            quickjs.install()
    except (quickjs.EngineMissing, OSError) as error:
        raise SandboxUnavailable(str(error)) from None
    if out.json:
        out.document({"engine": quickjs.PACKAGE, "version": quickjs.VERSION, "sha256": quickjs.DIGEST})
    else:
        out.data(f"{quickjs.PACKAGE} {quickjs.VERSION} is installed")
    return exits.DONE


def _code(file: str) -> str | bytes:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data if data[:4] == b"\0asm" else data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{file!r} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _input(given: str) -> tuple[str, Any]:
    import json

    name, equals, text = given.partition("=")
    if not equals or not name.isidentifier():
        raise Unusable(f"--input {given!r} is not NAME=VALUE")
    try:
        return name, json.loads(text)
    except ValueError:
        return name, text


async def _run(
    chosen: Settings,
    code: str | bytes,
    language: str,
    inputs: dict[str, Any],
    grants: tuple[str, ...],
    execution: str,
    timeout: float | None,
    memory: int | None,
) -> int:
    import durable
    from capabilities.sandbox.limits import JAVASCRIPT, MIB
    from durable.functions.values import to_json

    changes: dict[str, int] = {}
    if timeout is not None:
        changes["timeout_ms"] = max(1, round(timeout * 1000))
    if memory is not None:
        changes["memory"] = memory * MIB
    limits = JAVASCRIPT.but(**changes) if changes else None
    if execution and not chosen.store:
        raise Unusable("--execution names what is recorded in a store; say which one with --store")
    out = chosen.out()
    async with durable.open(chosen.store or ":memory:") as engine:
        ran = await engine.sandbox.run(
            code, language=language, inputs=inputs, limits=limits, grants=grants, execution=execution
        )
    if out.json:
        value = to_json(ran.value, "the value")
        fields = {"backend": ran.backend, "value": value, "stdout": ran.stdout, "stderr": ran.stderr}
        out.document({**fields, "elapsed_ms": ran.elapsed_ms, "fuel": ran.fuel, "memory": ran.memory})
        return exits.DONE
    sys.stdout.write(ran.stdout)
    sys.stderr.write(ran.stderr)
    if ran.value is not None:
        out.data(ran.value if isinstance(ran.value, str) else repr(ran.value))
    return exits.DONE


async def _health(chosen: Settings) -> int:
    import durable

    async with durable.open(":memory:") as engine:
        found = await engine.sandbox.health()
    out = chosen.out()
    if out.json:
        out.document([{"name": name, "can": not lacks, "lacks": lacks} for name, lacks in found.items()])
    else:
        for name, lacks in found.items():
            out.data(f"{name}: {f'no: {lacks}' if lacks else 'yes'}")
    return exits.FAILED if all(found.values()) else exits.DONE
