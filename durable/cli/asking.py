"""Prompts on the command line: asked on a terminal, else shown with the command that answers."""

from __future__ import annotations

import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from durable.cli.app import Settings
from durable.cli.out import Out, plain, to_text
from durable.cli.standing import Waits
from durable.core.errors import Conflict, InvalidAnswer
from durable.store.reads import PromptRow
from durable.views import PromptView, prompt_view

if TYPE_CHECKING:
    from durable.engine import Engine


def on_terminal() -> bool:
    """Whether a person can be asked here."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def user_name() -> str | None:
    """Who answers here, unless told otherwise."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return None


def show_waiting(settings: Settings, out: Out, execution_id: str, standing: Waits) -> None:
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


def asker(settings: Settings, out: Out) -> Callable[[Engine, Waits], Awaitable[bool]] | None:
    """What asks prompts on this terminal; None where there is no person."""
    if not on_terminal():
        return None
    refused: list[bool] = []

    async def ask(engine: Engine, standing: Waits) -> bool:
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
    try:
        while True:
            out.note("> ", end="")
            text = await read_line(elsewhere)
            if text is None:
                out.note("")
                if elsewhere.done():
                    out.say(f"{row.id} was answered by somebody else")
                    return True
                return False
            try:
                await engine.answer(row.id, read_value(view, text), by=by or user_name())
            except InvalidAnswer as error:
                out.say(str(error))
                continue
            except Conflict as error:
                out.say(str(error))
            return True
    finally:
        elsewhere.cancel()


def describe(view: PromptView) -> str:
    """The question with its context, choices and default, for a terminal."""
    lines = [f"{view.execution} asks: {view.question}"]
    if view.title:
        lines.insert(0, view.title)
    if view.context:
        lines.insert(len(lines) - 1, view.context)
    if view.choices:
        lines.append("  one of: " + ", ".join(str(choice) for choice in view.choices))
    elif view.schema:
        lines.append("  as JSON: " + _shape(view.schema))
    if view.has_default:
        lines.append(f"  default: {to_text(view.default)}")
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


def read_value(view: PromptView, text: str) -> Any:
    """What was typed as an answer: nothing is the default, where there is one."""
    from capabilities.prompt import Prompt

    if not text and view.has_default:
        return view.default
    return Prompt(question="?", json_schema=view.schema, choices=view.choices).read(text)


async def read_line(elsewhere: asyncio.Future[Any]) -> str | None:
    """A line from the terminal; None at its end, or when the prompt is settled meanwhile."""
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
