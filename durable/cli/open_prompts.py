"""Prompts on the command line: asked on a terminal, else shown with the command that answers."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

from capabilities.prompts.form_fields import fields_of
from durable.cli.command_group import Settings
from durable.cli.execution_status import AwaitsAnswers
from durable.cli.prompt_form import Left, fill
from durable.cli.text_output import Out, plain, to_text
from durable.core.errors import Conflict, InvalidAnswer, NotAsked
from durable.engine.views import prompt_view
from durable.records.view_models import PromptView
from durable.store.rows import PromptRow

if TYPE_CHECKING:
    from capabilities.prompts.prompt import Prompt
    from durable.engine.engine import Engine


def on_terminal() -> bool:
    """Whether a person can be asked here."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def user_name() -> str | None:
    """The name of whoever answers here, unless told otherwise."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return None


def show_waiting(settings: Settings, out: Out, execution_id: str, standing: AwaitsAnswers) -> None:
    """Say what is asked and which command answers; with `--json` also as data."""
    views = [prompt_view(row, settings.named) for row in standing.prompts]
    if out.json:
        out.document({"id": execution_id, "state": "waiting", "prompts": [_fields(view) for view in views]})
    for view in views:
        out.say(f"{view.execution} waits for an answer: {view.question}")
        out.say(f"answer it with: {view.command}")


def _fields(view: PromptView) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(view)


def asker(settings: Settings, out: Out) -> Callable[[Engine, AwaitsAnswers], Awaitable[bool]] | None:
    """The asker of prompts on this terminal; None where there is no person."""
    if not on_terminal():
        return None
    refused: list[bool] = []

    async def ask(engine: Engine, standing: AwaitsAnswers) -> bool:
        if refused:
            return False
        for row in standing.prompts:
            if not await ask_one(engine, out, row, prompt_view(row, settings.named)):
                refused.append(True)
                return False
        return True

    return ask


async def ask_one(engine: Engine, out: Out, row: PromptRow, view: PromptView, by: str | None = None) -> bool:
    """Ask until an answer is taken, here or by somebody else; False when the person leaves it open (Ctrl-D)."""
    out.note(describe(view))
    elsewhere = asyncio.ensure_future(engine.store.settled(row.id))

    async def line(label: str) -> str | None:
        out.note(label, end="")
        return await read_line(elsewhere, hidden=view.secret)

    try:
        while True:
            try:
                answer = await _form(view, line)
            except Left:
                out.note("")
                if elsewhere.done():
                    out.say(f"{row.id} was answered by somebody else")
                    return True
                return False
            try:
                decided = await engine.answer(row.id, answer, by=by or user_name(), via="cli")
            except InvalidAnswer as error:
                out.say(str(error))
                continue
            except NotAsked as error:
                out.say(f"{error}; say who you are with --by")
                return False
            except Conflict as error:
                out.say(str(error))
                return True
            if not decided:
                out.say(f"{row.id} has your answer, and waits for others")
            return True
    finally:
        elsewhere.cancel()


async def _form(view: PromptView, line: Callable[[str], Awaitable[str | None]]) -> Any:
    """The person's answer; raises Left."""
    if view.choices is None and fields_of(view.schema) is not None and not view.has_default:
        return await fill(view, line)
    text = await line("> ")
    if text is None:
        raise Left
    return read_value(view, text)


def describe(view: PromptView) -> str:
    """The question with its context, choices and default, for a terminal."""
    lines = [view.title] if view.title else []
    lines += [view.context] if view.context else []
    lines += [f"{view.execution} asks{' ' + ', '.join(view.to) if view.to else ''}: {view.question}"]
    if view.reason:
        lines.append(f"  again, because {view.reason}")
    if view.form == "review":
        lines.append(f"  {to_text(view.initial)}")
    if view.choices:
        several = "any of, by name or number, with commas" if view.many else "one of"
        lines.append(f"  {several}: " + ", ".join(str(choice) for choice in view.choices))
    elif view.schema and (fields_of(view.schema) is None or view.has_default):
        lines.append("  as JSON: " + _shape(view.schema))
    if view.has_default:
        lines.append(f"  default: {to_text(view.default)}")
    if view.quorum not in (1, "any"):
        lines.append(f"  {view.quorum} have to approve")
    return plain("\n".join(lines))


def _shape(schema: dict[str, Any]) -> str:
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return str(schema.get("type", "a value"))
    fields = [
        f'"{name}": {field.get("type", "value") if isinstance(field, dict) else "value"}'
        for name, field in properties.items()
    ]
    return "{" + ", ".join(fields) + "}"


def prompt_of(view: PromptView) -> Prompt:
    """The part of the question that reads answers."""
    from capabilities.prompts.prompt import Prompt

    shape: dict[str, Any] = {"json_schema": view.schema, "choices": view.choices, "many": view.many, "form": view.form}
    return Prompt(question="?", default=view.default, has_default=view.has_default, **shape)


def read_value(view: PromptView, text: str) -> Any:
    """Read an answer that was typed on a line. InvalidAnswer."""
    from capabilities.prompts.answer_validation import read_entry

    return read_entry(prompt_of(view), text)


async def read_line(elsewhere: asyncio.Future[Any], *, hidden: bool = False) -> str | None:
    """A line from the terminal; None at its end, or when the prompt is settled meanwhile. hidden: it is not shown."""
    with _unseen() if hidden else contextlib.nullcontext():
        return await _read_line(elsewhere)


@contextlib.contextmanager
def _unseen() -> Iterator[None]:
    import termios

    before = termios.tcgetattr(sys.stdin)
    changed = [*before]
    changed[3] &= ~termios.ECHO
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, changed)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


async def _read_line(elsewhere: asyncio.Future[Any]) -> str | None:
    loop = asyncio.get_running_loop()
    typed: asyncio.Future[str] = loop.create_future()

    def readable() -> None:
        if not typed.done():
            typed.set_result(sys.stdin.readline())

    loop.add_reader(sys.stdin.fileno(), readable)
    try:
        await asyncio.wait({typed, elsewhere}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(sys.stdin.fileno())
    text = typed.result() if typed.done() else ""
    return text.rstrip("\n") if text else None
