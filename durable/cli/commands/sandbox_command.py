"""`durable sandbox run|health|install`"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from capabilities.sandbox.routing import CHOICES
from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous, in_loop, settings
from durable.cli.exit_codes import Unusable
from durable.cli.text_output import Out

if TYPE_CHECKING:
    import durable


LANGUAGES = {".js": "javascript", ".mjs": "javascript", ".py": "python"}
"""The language by the ending of a file's name, before what its text looks like."""


@click.group("sandbox", short_help="Foreign code: run, health, install.")
def command() -> None:
    """Foreign code, run once, with nothing but what it is given."""


@command.command("run", cls=Command)
@click.argument("file", metavar="FILE|-")
@click.option("--language", type=click.Choice(CHOICES), default="auto", help="auto: by its name, or its looks.")
@click.option("--input", "inputs", multiple=True, metavar="NAME=VALUE", help="A global; JSON where it parses as JSON.")
@click.option("--grant", "grants", multiple=True, metavar="CAPABILITY", help="What it may ask for.")
@click.option("--arg", "args", multiple=True, metavar="JSON", help="An argument, in order, instead of --input.")
@click.option("--argv", "argv", multiple=True, metavar="TEXT", help="An argument of a WASI program, in order.")
@click.option("--env", "env", multiple=True, metavar="NAME=VALUE", help="A variable of a WASI program's environment.")
@click.option("--dir", "directories", multiple=True, metavar="NAME=PATH[:rw]", help="A directory that it sees as NAME.")
@click.option("--function", default="", metavar="NAME", help="An export of WebAssembly, a function of JavaScript.")
@click.option("--manifest", type=click.Path(path_type=Path), metavar="TOML", help="A component's limits, permissions.")
@click.option("--identity", default="", metavar="NAME", help="Whose kv and files it has.")
@click.option("--execution", default="", metavar="ID", help="Record its host calls in the store; again, it goes on.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Deadline in seconds; alone, no limit of fuel.",
)
@click.option("--cpu", type=click.FloatRange(min=0, min_open=True), metavar="S", help="CPU time in seconds.")
@click.option("--memory", type=click.IntRange(min=1), metavar="MIB", help="Memory in MiB.")
@click.option("--fuel", type=click.IntRange(min=1), metavar="N", help="Instructions of WebAssembly.")
@click.option("--output", type=click.IntRange(min=0), metavar="KIB", help="Of stdout and of stderr, in KiB.")
def run(file: str, language: str, inputs: tuple[str, ...], args: tuple[str, ...], **given: Any) -> int:
    """Run FILE, or stdin. Its output comes as it was printed, its value last."""
    if inputs and args:
        raise Unusable("--input and --arg: arguments are given by name or in order, not both")
    chosen, code = settings(), _code(file)
    if language == "auto" and isinstance(code, str):
        language = LANGUAGES.get(Path(file).suffix, language)
    ordered = [_value(each) for each in args] or dict(_input(each) for each in inputs)
    return in_loop(lambda: _run(chosen, code, language, ordered, given))


@command.command("health", cls=Command)
@asynchronous
async def health(chosen: Settings) -> int:
    """Which kinds of code can be run here. Exit 1 when none can."""
    import durable

    async with durable.open(":memory:") as engine:
        found = await engine.sandbox.health()
    out = chosen.out()
    if out.json:
        out.document([{"name": name, "can": not lacks, "lacks": lacks} for name, lacks in found.items()])
    else:
        for name, lacks in found.items():
            out.data(f"{name}: {f'no: {lacks}' if lacks else 'yes'}")
    return exit_codes.FAILED if all(found.values()) else exit_codes.DONE


@command.command("install", cls=Command)
def install() -> int:
    """Bring JavaScript's engine, with npm, when the package was built without it."""
    from capabilities.sandbox.errors import SandboxUnavailable
    from capabilities.sandbox.javascript import engine_file

    out = settings().out()
    try:
        if not engine_file.present():
            engine_file.install()
    except (engine_file.EngineMissing, OSError) as error:
        raise SandboxUnavailable(str(error)) from None
    if out.json:
        out.document({"engine": engine_file.PACKAGE, "version": engine_file.VERSION, "sha256": engine_file.DIGEST})
    else:
        out.data(f"{engine_file.PACKAGE} {engine_file.VERSION} is installed")
    return exit_codes.DONE


def _code(file: str) -> str | bytes:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data if data[:4] == b"\0asm" else data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{file!r} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _input(given: str) -> tuple[str, Any]:
    name, equals, text = given.partition("=")
    if not equals or not name.replace("-", "_").isidentifier():
        raise Unusable(f"--input {given!r} is not NAME=VALUE")
    return name, _value(text)


def _program(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments, environment and directories of a WASI program."""
    env = dict(_named("--env", each) for each in given["env"])
    directories: dict[str, Any] = dict(_named("--dir", each) for each in given["directories"])
    for name, path in directories.items():
        directories[name] = (path.removesuffix(":rw"), "rw") if path.endswith(":rw") else path
    return {"args": given["argv"], "env": env, "directories": directories}


def _named(option: str, given: str) -> tuple[str, str]:
    name, equals, text = given.partition("=")
    if not equals or not name or not text:
        raise Unusable(f"{option} {given!r} is not NAME=VALUE")
    return name, text


def _value(text: str) -> Any:
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text


def _limits(given: dict[str, Any], code: str | bytes) -> Any:
    """The limits that were given, changed in what the backend would give; None when none was."""
    from capabilities.sandbox.limits import COMPONENT, JAVASCRIPT, KIB, MIB
    from capabilities.sandbox.routing import is_wasm

    units = {"timeout": 1000, "cpu": 1000, "memory": MIB, "fuel": 1, "output": KIB}
    names = {"timeout": "timeout_ms", "cpu": "cpu_ms"}
    found = {names.get(name, name): max(1, round(given[name] * unit)) for name, unit in units.items() if given[name]}
    if given["output"] == 0:
        found["output"] = 0
    usual = COMPONENT if is_wasm(code) else JAVASCRIPT
    if "timeout_ms" in found and "fuel" not in found:
        usual = usual.but(fuel=None)  # whoever gives a time means that one
    return usual.but(**found) if found else None


async def _run(chosen: Settings, code: str | bytes, language: str, inputs: Any, given: dict[str, Any]) -> int:
    import durable
    from capabilities.sandbox.wasm.wit_values import plain
    from durable.records.values import to_json

    limits, out, manifest = _limits(given, code), chosen.out(), given["manifest"]
    if given["execution"] and not chosen.store:
        raise Unusable("--execution names what is recorded in a store; say which one with --store")
    rights = {"limits": limits, "grants": given["grants"], "identity": given["identity"]}
    names = {"function": given["function"], "execution": given["execution"], **_program(given)}
    try:
        async with durable.open(chosen.store or ":memory:") as engine:
            if manifest is not None:
                found = _read(manifest)
                if found.policy().development:
                    out.say(f"component {found.id} is in development mode: nothing that it asks for is checked")
                known = await engine.sandbox.add(found, _bytes(code))
                ran = await engine.sandbox.run(component=known, language=language, inputs=inputs, **rights, **names)
            else:
                ran = await engine.sandbox.run(code, language=language, inputs=inputs, **rights, **names)
    except durable.DurableError as error:
        return _failed(out, error)
    if out.json:
        try:
            value = to_json(plain(ran.value), "the value")
        except durable.NotEncodable as error:
            error.printed = (ran.stdout, ran.stderr)
            return _failed(out, error)
        fields = {"backend": ran.backend, "value": value, "stdout": ran.stdout, "stderr": ran.stderr}
        used = {"elapsed_ms": ran.elapsed_ms, "fuel": ran.fuel, "memory": ran.memory, "memory_limit": ran.memory_limit}
        out.document({**fields, **used})
        return exit_codes.DONE
    _printed(ran.stdout, ran.stderr)
    if ran.value is not None:
        if isinstance(ran.value, str):
            out.text(ran.value)
        else:
            out.repr(repr(ran.value))
    return exit_codes.DONE


def _failed(out: Out, error: durable.DurableError) -> int:
    """Report a failure and what was printed before it; the kind of failure is W9's word."""
    from capabilities.sandbox.error_kinds import kind_of
    from capabilities.sandbox.errors import Used

    used = getattr(error, "used", None)
    used = used if isinstance(used, Used) else Used()
    if out.json:
        found = {"code": error.code, "message": str(error), "kind": kind_of(error)}
        out.document({"error": found, "stdout": error.printed[0], "stderr": error.printed[1], **used.to_json()})
    else:
        _printed(*error.printed)
        traceback = error.foreign_traceback or getattr(error, "traceback", "")
        if traceback:
            out.traceback(traceback)
    out.say(str(error))
    return exit_codes.code_of(error)


def _printed(stdout: str, stderr: str) -> None:
    sys.stdout.write(stdout)
    sys.stdout.flush()
    sys.stderr.write(stderr)


def _read(manifest: Path) -> Any:
    from capabilities.sandbox.component_manifest import parse_component

    try:
        return parse_component(manifest.read_text(), str(manifest))
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{str(manifest)!r} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _bytes(code: str | bytes) -> bytes:
    if isinstance(code, bytes):
        return code
    raise Unusable("--manifest is a component's: FILE is not WebAssembly")
