"""The commands and their common options; one place where errors become messages and exit codes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import wraps
from importlib import import_module
from typing import Any, Concatenate, override

import click

from durable.cli import exit_codes
from durable.cli.text_output import Out
from durable.core.errors import DurableError, StoreMissing, Waiting

STORE_DEFAULT = ".durable/state.db"
STORE_VARIABLE = "DURABLE_STORE"

COMMANDS = {
    "run": "Run a durable function and wait for it.",
    "exec": "Run code in a session.",
    "repl": "Talk to a session.",
    "ps": "What runs, waits or is stuck.",
    "list": "Executions, newest first.",
    "show": "Everything about one execution.",
    "tree": "An execution with all that is under it.",
    "logs": "What an execution printed.",
    "stream": "What an execution writes to its streams.",
    "published": "Values that an execution has published.",
    "wait": "Wait until an execution ends.",
    "result": "Wait for an execution and print its result.",
    "context": "How an agent's context was compacted.",
    "inbox": "Questions that wait for a person.",
    "answer": "Answer a question.",
    "signal": "Send a value to an execution.",
    "resume": "Go on with what was interrupted or left.",
    "tag": "Give executions tags that they are found by.",
    "retry": "Begin again what failed, from the step that failed.",
    "replay": "Whether executions go on with today's code: check, upgrade.",
    "interrupt": "Stop an execution so that it can go on later.",
    "cancel": "End an execution for good.",
    "delete": "Forget executions that have ended.",
    "audit": "What code asked for, and what was decided.",
    "session": "Sessions: list, show, vars, restart, close, grant, revoke.",
    "actor": "Actors: list, show, send, ask, state, stop, restart, delete, tree, dead-letters.",
    "sandbox": "Foreign code: run, health, install.",
    "queue": "Queues: list, show, set, pause, resume, drain, delete.",
    "deployment": "Deployments: list, use, move, delete.",
    "schedule": "Executions that the clock starts.",
    "promise": "Promises, as they are.",
    "keys": "Keys of encrypted values: list, rekey.",
    "alias": "Say what a function is known by since it was renamed.",
    "export": "An execution as one JSON document.",
    "import": "Recreate an execution from its record.",
    "worker": "Run durable functions until told to end.",
    "serve": "Offer the store over HTTP.",
    "ui": "Look at the store in a browser.",
    "token": "Tokens of people and programs: add, list, remove.",
    "mcp": "Offer sessions, functions and questions to agents over MCP.",
    "gc": "Forget what ended long ago.",
    "checkpoint": "What a session has saved: list, show, diff, restore, export.",
    "fork": "Begin a session from a checkpoint, an execution from a step.",
    "rewind": "Take an execution back to before a step.",
    "lint": "Find in durable functions what a replay would not do again.",
    "doctor": "Say what is wrong with the store, what this machine can enforce.",
    "backup": "Copy the store while engines run.",
    "jupyter": "A Jupyter kernel whose variables outlive it: install.",
    "notebook": "Notebooks: run durably, export, sync.",
    "copy": "Move a store to another place: a file to a database, and back.",
    "demo": "See a job survive SIGKILL.",
}
"""Every command with its line of help; its module is durable.cli.commands.<name>_command."""


@dataclass(slots=True)
class Settings:
    """The common options. `given` tells a store that was named from the default one."""

    store: str | None = None
    json: bool = False
    override_environment: bool = False
    trust_store: bool = False
    json_logs: bool = False
    at_end: list[Callable[[], None]] = field(default_factory=list)
    """Called when the command's loop has ended."""

    @property
    def path(self) -> str:
        """The store's path."""
        return self.store or os.environ.get(STORE_VARIABLE) or STORE_DEFAULT

    @property
    def named(self) -> str | None:
        """The path to repeat in a command that is shown; None where the shell's own default leads there. A URL of a
        database has lost its password: DURABLE_STORE_PASSWORD and ~/.pgpass keep it from screens and logs."""
        if self.store is None:
            return None
        from durable.store.target import repeatable

        return repeatable(self.store)

    def out(self) -> Out:
        """The streams of this command."""
        return Out(json=self.json, json_logs=self.json_logs)


def settings() -> Settings:
    """The common options of the running command."""
    found: Settings = click.get_current_context().find_root().obj
    return found


def _set_store(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.find_root().ensure_object(Settings).store = value


def _set_trust(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.find_root().ensure_object(Settings).trust_store = True


def _set_json(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.find_root().ensure_object(Settings).json = True


def _set_log_format(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.find_root().ensure_object(Settings).json_logs = value == "json"


def _common(*, with_json: bool = True) -> list[click.Parameter]:
    store = click.Option(
        ["--store"],
        metavar="PATH|URL",
        expose_value=False,
        callback=_set_store,
        help=f"The store [{STORE_VARIABLE}, default {STORE_DEFAULT}].",
    )
    trusted = click.Option(
        ["--trust-store"],
        is_flag=True,
        expose_value=False,
        callback=_set_trust,
        help="Open the store though another user prepared it, now and later.",
    )
    as_json = click.Option(
        ["--json"], is_flag=True, expose_value=False, callback=_set_json, help="Data as JSON, see specs/cli.md."
    )
    log_format = click.Option(
        ["--log-format"],
        type=click.Choice(["text", "json"]),
        expose_value=False,
        callback=_set_log_format,
        help="What is said on stderr: text for people, or JSON lines with ids.",
    )
    return [store, trusted, as_json, log_format] if with_json else [store, trusted, log_format]


_NAMES_ONE = (
    "prompt", "execution_id", "execution_ids", "forked", "session", "promise_id", "queue", "schedule_id", "kind",
    "deployment",
)  # fmt: skip
"""Arguments that name something in the store: where there is no store, there is no such thing (exit 3)."""


class Command(click.Command):
    """A command with the common options. `own_json`: its `--json` means something else."""

    def __init__(self, *args: Any, own_json: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_common(with_json=not own_json))

    @override
    def invoke(self, ctx: click.Context) -> Any:
        chosen = settings()
        if chosen.trust_store:
            _trust(chosen)
        try:
            return super().invoke(ctx)
        except StoreMissing as error:
            if not any(ctx.params.get(each) for each in _NAMES_ONE):
                raise
            raise exit_codes.Absent(str(error)) from None


def _trust(chosen: Settings) -> None:
    """Trust the store's file; a server and a database have none."""
    from pathlib import Path

    from durable.store.owner_check import trust
    from durable.store.target import parsed

    path = parsed(chosen.path)
    if isinstance(path, Path):
        trust(path)


class Commands(click.Group):
    """The commands, each imported when it is called; help needs none of them."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = import_module(f"durable.cli.commands.{cmd_name}_command").command
        return found

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    @override
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"; did you mean `durable {close[0]}`?" if close else ""
            raise click.UsageError(f"there is no command {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)


def _version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(f"durable {version('durable-exec')}")
        context.exit()


root = Commands(
    name="durable",
    help="Durable execution: functions, code sessions and questions to people that survive kill -9.",
    context_settings={"help_option_names": ["-h", "--help"]},
    params=[
        *_common(),
        click.Option(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version, help="The version."
        ),
    ],
)


def run(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code. With DURABLE_DEBUG set, errors of ours show their traceback."""
    chosen = Settings()
    try:
        code = root.main(argv, prog_name="durable", standalone_mode=False, obj=chosen)
        sys.stdout.flush()
        return code if isinstance(code, int) else exit_codes.DONE
    except Exception as error:
        return _explain(error, chosen)
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED


def _explain(error: Exception, chosen: Settings) -> int:
    out = chosen.out()
    if isinstance(error, click.Abort):
        return exit_codes.INTERRUPTED
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        out.note(error.format_message())
        return exit_codes.USAGE
    if isinstance(error, click.ClickException):
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx is not None else "durable"
        return _fail(out, f"{error.format_message()} (see `{where} --help`)", "USAGE", exit_codes.USAGE)
    if isinstance(error, Waiting):
        return exit_codes.WAITING  # said where it was found, with the commands that answer
    if isinstance(error, DurableError):
        return _fail(out, str(error), error.code, exit_codes.code_of(error))
    if os.environ.get("DURABLE_DEBUG"):
        raise error
    text = f"an error of durable-exec itself: {type(error).__name__}: {error}. Nothing recorded is lost; try again"
    return _fail(out, f"{text}, or set DURABLE_DEBUG=1 and report what it shows", "INTERNAL", exit_codes.FAILED)


def _fail(out: Out, message: str, code: str, status: int) -> int:
    if out.json:
        out.document({"error": {"code": code, "message": message}})
    out.say(message)
    return status


def asynchronous[**P](main: Callable[Concatenate[Settings, P], Coroutine[Any, Any, int]]) -> Callable[P, int]:
    """Make a coroutine function the body of a command: run as `in_loop` does, with the settings before its options."""

    @wraps(main)
    def command(*args: P.args, **kwargs: P.kwargs) -> int:
        chosen = settings()
        return in_loop(lambda: main(chosen, *args, **kwargs))

    return command


async def until_ended(out: Out) -> None:
    """Wait until somebody ends this command."""
    import asyncio

    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        out.say("ending; nothing is lost by it")


def in_loop(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run a command's coroutine; Ctrl-C, SIGTERM and SIGHUP cancel it, so that engines give back what they hold."""
    import asyncio

    _quiet_logs()
    if click.get_current_context(silent=True) is not None and settings().json_logs:
        from durable.telemetry import log_json

        log_json()
    ended_by: list[int] = []

    async def guarded() -> int:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def end(number: int, _: object) -> None:
            if ended_by:
                os._exit(128 + number)  # asked twice: what is recorded is recorded
            ended_by.append(number)
            loop.call_soon_threadsafe(task.cancel)

        # Not the loop's own handlers: code of a durable function may keep the loop busy, and these run all the same.
        # The loop's come first for what they wake it by: a signal just before it sleeps would be seen after its sleep.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # that is `nohup`
                loop.add_signal_handler(number, _seen)
                signal.signal(number, end)
        return await main()

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        return 128 + ended_by[0] if ended_by else exit_codes.INTERRUPTED
    except BrokenPipeError:
        return exit_codes.PIPE_CLOSED  # whoever read us has enough, as in `durable list | head`
    finally:
        if click.get_current_context(silent=True) is not None:
            for end in settings().at_end:
                end()


def _seen() -> None:
    """Nothing: the handler that does something has run."""


def _quiet_logs() -> None:
    """Silence the logs: what went wrong is said in our own words; logs are for programs that embed an engine."""
    import logging

    if os.environ.get("DURABLE_DEBUG"):
        return
    for name in ("durable", "resonate", "asyncio", "uvicorn", "mcp"):
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
