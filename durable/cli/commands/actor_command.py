"""`durable actor …`: actors of the store: what there is, what they are told, stopping and restarting them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous

if TYPE_CHECKING:
    from durable.actors.management import ActorInfo
    from durable.engine.engine import Engine


@click.group("actor", short_help="Actors: list, show, send, ask, state, stop, restart, delete, tree, dead-letters.")
def command() -> None:
    """Actors: a name with a mailbox, a state, and one message at a time. CLASS and KEY say which.

    Messages are taken by engines that serve the class: a program, or `durable run`. ARGS are JSON where they parse as
    JSON, else texts.
    """


_CLASS = click.argument("kind", metavar="CLASS")
_KEY = click.argument("key", metavar="KEY")


@command.command("list", cls=Command)
@click.argument("kind", metavar="[CLASS]", default="")
@click.option("--status", type=click.Choice(("running", "stopped", "failed")), help="Only those that are so.")
@asynchronous
async def list_(chosen: Settings, kind: str, status: str | None) -> int:
    """All actors, by class and key."""
    async with _client(chosen) as engine:
        found = await engine.actors.find(kind=kind or None, status=status)
    out = chosen.out()
    if out.json:
        out.document([_document(each) for each in found])
        return exit_codes.DONE
    rows = [(each.kind, each.key, each.status, each.waiting, each.restarted, each.note) for each in found]
    out.table(("class", "key", "status", "waiting", "restarts", "note"), rows, "no actors")
    return exit_codes.DONE


@command.command("show", cls=Command)
@_CLASS
@_KEY
@asynchronous
async def show(chosen: Settings, kind: str, key: str) -> int:
    """One actor: its status, mailbox, restarts and state."""
    async with _client(chosen) as engine:
        found = await engine.actors.get(kind, key)
    out = chosen.out()
    if out.json:
        out.document(_document(found))
        return exit_codes.DONE
    for name, value in _document(found).items():
        out.data(f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")
    return exit_codes.DONE


@command.command("state", cls=Command)
@_CLASS
@_KEY
@asynchronous
async def state(chosen: Settings, kind: str, key: str) -> int:
    """The state that was saved last, as JSON."""
    async with _client(chosen) as engine:
        found = await engine.actors.get(kind, key)
    chosen.out().document(found.state)
    return exit_codes.DONE


@command.command("send", cls=Command, context_settings={"ignore_unknown_options": True})
@click.option("--id", "message_id", help="A message of an id is sent once.")
@_CLASS
@_KEY
@click.argument("method")
@click.argument("words", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
@asynchronous
async def send(
    chosen: Settings, message_id: str | None, kind: str, key: str, method: str, words: tuple[str, ...]
) -> int:
    """Record a message and return; prints its execution's id, for `durable result`."""
    async with _client(chosen) as engine:
        reference = engine.actor(kind, key).options(id=message_id)
        found = await getattr(reference.tell, method)(*map(_value, words))
    out = chosen.out()
    if out.json:
        out.document({"id": found})
    else:
        out.data(found)
    return exit_codes.DONE


@command.command("ask", cls=Command, context_settings={"ignore_unknown_options": True})
@click.option("--timeout", type=float, help="Seconds to wait; the message goes on (exit 5).")
@_CLASS
@_KEY
@click.argument("method")
@click.argument("words", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
@asynchronous
async def ask(chosen: Settings, timeout: float | None, kind: str, key: str, method: str, words: tuple[str, ...]) -> int:
    """Send a message, wait for its reply, and print that as JSON."""
    async with _client(chosen) as engine:
        reference = engine.actor(kind, key).options(timeout=timeout)
        found = await getattr(reference, method)(*map(_value, words))
    chosen.out().document(found)
    return exit_codes.DONE


@command.command("stop", cls=Command)
@click.option("--force", is_flag=True, help="End the turn that is at work, too.")
@click.option("--note", default="", help="Why; senders are told.")
@_CLASS
@_KEY
@asynchronous
async def stop(chosen: Settings, force: bool, note: str, kind: str, key: str) -> int:
    """Let an actor take no more messages: those that wait are among the dead letters."""
    async with _client(chosen) as engine:
        letters = await engine.actors.stop(kind, key, note, force=force)
    out = chosen.out()
    out.say(f"{kind} {key!r} is stopped; {letters} messages are among the dead letters")
    if out.json:
        out.document({"kind": kind, "key": key, "status": "stopped", "letters": letters})
    return exit_codes.DONE


@command.command("restart", cls=Command)
@click.option("--reset", is_flag=True, help="Without its state: it begins anew.")
@_CLASS
@_KEY
@asynchronous
async def restart(chosen: Settings, reset: bool, kind: str, key: str) -> int:
    """Let an actor that was stopped or failed go on with its last saved state."""
    async with _client(chosen) as engine:
        await engine.actors.restart(kind, key, reset=reset)
    out = chosen.out()
    out.say(f"{kind} {key!r} takes messages")
    if out.json:
        out.document({"kind": kind, "key": key, "status": "running"})
    return exit_codes.DONE


@command.command("delete", cls=Command)
@click.option("--force", is_flag=True, help="One that runs is stopped first; those that it spawned are under nobody.")
@_CLASS
@_KEY
@asynchronous
async def delete(chosen: Settings, force: bool, kind: str, key: str) -> int:
    """Forget an actor that is stopped or failed: its state, dead letters, subscriptions and reminders."""
    async with _client(chosen) as engine:
        letters = await engine.actors.delete(kind, key, force=force)
    out = chosen.out()
    out.say(f"{kind} {key!r} is deleted, with {letters} dead letters; its next message begins a new one")
    if out.json:
        out.document({"kind": kind, "key": key, "letters": letters})
    return exit_codes.DONE


@command.command("tree", cls=Command)
@asynchronous
async def tree(chosen: Settings) -> int:
    """The tree of supervisors and their actors."""
    async with _client(chosen) as engine:
        found = await engine.actors.tree()
    out = chosen.out()
    if out.json:
        out.document([asdict(found.node(id)) for root in found.roots() for id in [root, *found.descendants(root)]])
        return exit_codes.DONE
    for line in found.lines():
        out.data(line)
    return exit_codes.DONE


@command.command("dead-letters", cls=Command)
@click.argument("kind", metavar="[CLASS]", default="")
@click.argument("key", metavar="[KEY]", default="")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@asynchronous
async def dead_letters(chosen: Settings, kind: str, key: str, limit: int) -> int:
    """Messages that no turn answered, the newest first, and why."""
    if kind and not key:
        raise click.UsageError("say the KEY of the actor, too; without both, the letters of all actors are listed")
    async with _client(chosen) as engine:
        found = await engine.actors.dead_letters(kind or None, key, limit=limit)
    out = chosen.out()
    if out.json:
        out.document([asdict(each) for each in found])
        return exit_codes.DONE
    rows = [(each.number, each.actor, each.method, json.dumps(each.args), each.reason) for each in found]
    out.table(("number", "actor", "method", "arguments", "why"), rows, "no dead letters")
    return exit_codes.DONE


def _client(chosen: Settings) -> Engine:
    """An engine that runs nothing itself."""
    from durable.cli.engine_or_client import open_engine

    return open_engine(chosen, chosen.out(), serve=False, create=False)


def _value(word: str) -> Any:
    try:
        return json.loads(word)
    except ValueError:
        return word


def _document(info: ActorInfo) -> dict[str, Any]:
    return asdict(info)
