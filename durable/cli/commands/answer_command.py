"""`durable answer PROMPT VALUE|--json J|--field NAME=VALUE|--choose N|--decline`"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, in_loop, settings
from durable.cli.exit_codes import Unusable
from durable.core import ids
from durable.core.errors import NotFound, NotServed

if TYPE_CHECKING:
    from durable.cli.text_output import Out
    from durable.engine.engine import Engine
    from durable.store.port import StoreFace
    from durable.store.rows import PromptRow


@click.command("answer", cls=Command, own_json=True, short_help="Answer a question.")
@click.argument("prompt")
@click.argument("value", required=False)
@click.option("--json", "as_json", metavar="J", help="The answer as JSON; - reads it from stdin.")
@click.option("--field", "fields", multiple=True, metavar="NAME=VALUE", help="A field of the answer; may be repeated.")
@click.option("--choose", "chosen", multiple=True, type=int, metavar="N", help="The N-th choice; may be repeated.")
@click.option("--decline", is_flag=True, help="Refuse to answer: the code gets a Denied error.")
@click.option("--why", default="", metavar="TEXT", help="Why; the code can read it.")
@click.option("--by", metavar="NAME", help="Who answers [the user's name].")
@click.option("--team", "teams", multiple=True, metavar="TEAM", help="Of which team, for questions to one.")
def command(prompt: str, value: str | None, by: str | None, **options: Any) -> int:
    """Answer PROMPT, an id of `durable inbox`; an execution's id will do while it asks one thing only.

    An answer that does not fit leaves the question open. Without one it is asked for here, field by field. When no
    engine is alive to go on with what was woken, this command is the engine until it ends or waits again, and prints
    its result.
    """
    given = AnswerOptions(value=value, by=by, **options)
    if given.count() > 1:
        raise Unusable("give one answer: VALUE, --json J, --field NAME=VALUE, --choose N or --decline")
    settled = settings()
    return in_loop(lambda: _answer(settled, prompt, given))


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """The answer as it is typed on the command line."""

    value: str | None
    as_json: str | None
    fields: tuple[str, ...]
    chosen: tuple[int, ...]
    decline: bool
    why: str
    by: str | None
    teams: tuple[str, ...]

    def count(self) -> int:
        """How many answers that are."""
        said = (self.value is not None, self.as_json is not None, self.fields, self.chosen, self.decline)
        return sum(map(bool, said))


async def _answer(chosen: Settings, prompt: str, given: AnswerOptions) -> int:
    from durable.cli.engine_or_client import open_engine, opened
    from durable.cli.execution_status import needs_of, root_of, served
    from durable.cli.open_prompts import on_terminal, user_name

    out = chosen.out()
    async with opened(chosen, create=False) as store:
        row = await _prompt(store, prompt)
    if not given.count() and not on_terminal():
        raise Unusable("give the answer: VALUE, --json J, --field NAME=VALUE, --choose N or --decline")
    async with open_engine(chosen, out, serve=False, create=False) as engine:
        if not given.count():
            if not await _ask(engine, chosen, out, row, given.by):
                return exit_codes.WAITING
            decided = True
        else:
            answer = None if given.decline else _value(row, given)
            decided = await engine.answer(
                row.id, answer, by=given.by or user_name(), decline=given.decline, why=given.why, teams=given.teams,
                via="cli",
            )  # fmt: skip
        root = root_of(row.execution)
        alive = (await served(engine.store)).serve(await needs_of(engine.store.reads, root))
    if not decided:
        out.say(f"{row.id} has your answer, and waits for others")
        return exit_codes.DONE
    out.say(f"{row.id} is {'declined' if given.decline else 'answered'}")
    if alive:
        out.say(f"its engine goes on with {root}; follow it with: durable wait {root}")
        return exit_codes.DONE
    return await _go_on(chosen, out, root)


async def _go_on(chosen: Settings, out: Out, root: str) -> int:
    from durable.cli.execution_wait import follow
    from durable.cli.report import report

    try:
        standing = await follow(chosen, out, root)
    except NotServed as error:
        raise NotServed(f"the answer is recorded, but {error}") from None
    return report(chosen, out, root, standing)


async def _ask(engine: Engine, chosen: Settings, out: Out, row: PromptRow, by: str | None) -> bool:
    from durable.cli.open_prompts import ask_one
    from durable.engine.views import prompt_view

    return await ask_one(engine, out, row, prompt_view(row, chosen.named), by)


async def _prompt(store: StoreFace, given: str) -> PromptRow:
    """The open prompt of that id, or the only one of that execution. Says why one that was open no longer is."""
    from durable.cli.execution_status import root_of
    from durable.prompts.inbox import Inbox, already

    wanted = given if given.startswith(ids.PREFIX) else ids.PREFIX + given
    call = ids.parse_call(wanted)
    asking = wanted.removeprefix(ids.PREFIX) if call is None else call.execution
    await store.reads.get_execution(root_of(asking))  # a server without lists has those that were asked for
    open_ = await store.reads.prompts()
    found = [row for row in open_ if row.id == wanted]
    if not found:
        execution = wanted.removeprefix(ids.PREFIX)
        found = [row for row in open_ if row.execution == execution or row.execution.startswith(f"{execution}.")]
    if len(found) > 1:
        raise Unusable(f"{given!r} asks {len(found)} questions; name one: {', '.join(row.id for row in found)}")
    if found:
        return found[0]
    if ids.parse_call(wanted) is None or await store.reads.get_promise(wanted) is None:
        raise NotFound("prompt", given, "`durable inbox` lists the open ones")
    promise = await Inbox(store).get(wanted)
    if promise["state"] != "pending":
        raise already(wanted, promise)
    raise NotFound("prompt", given, "it was asked just now; try again")


def _value(row: PromptRow, given: AnswerOptions) -> Any:
    import sys

    from capabilities.prompts.answer_validation import chosen
    from durable.cli.open_prompts import prompt_of, read_value
    from durable.cli.prompt_form import read_pairs
    from durable.engine.views import prompt_view

    view = prompt_view(row)
    if given.chosen:
        return chosen(prompt_of(view), row.id, list(given.chosen))
    if given.fields:
        try:
            return read_pairs(view, given.fields)
        except ValueError as error:
            raise Unusable(str(error)) from None
    if given.as_json is None:
        return read_value(view, given.value or "")
    text = sys.stdin.read() if given.as_json == "-" else given.as_json
    try:
        return json.loads(text)
    except ValueError as error:
        raise Unusable(f"--json {text[:200]!r} is not JSON: {error}") from None
