"""`durable promise …`: the store's promises as they are."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous, in_loop, settings
from durable.cli.text_output import Out
from durable.cli.upkeep_options import Duration

if TYPE_CHECKING:
    from durable.store.port import StoreFace

STATES = ("pending", "resolved", "rejected", "rejected_canceled", "rejected_timedout")


@click.group("promise", short_help="Promises, as they are.")
def command() -> None:
    """Promises: durable, named, write-once values. Executions, steps and questions are promises too."""


@command.command("create", cls=Command)
@click.argument("promise_id", metavar="ID")
@click.option("--param", metavar="JSON", help="What whoever settles it is told.")
@click.option("--timeout", type=Duration(), metavar="AGE", help="Deadline from now: 30d, 12h, 90m. None by default.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="May be given again.")
def create(promise_id: str, param: str | None, timeout: float | None, tags: tuple[str, ...]) -> int:
    """Make a promise that others may wait for. One of that id that exists already is a conflict (exit 6)."""
    chosen = settings()
    return in_loop(lambda: _create(chosen, promise_id, param, timeout, tags))


@command.command("get", cls=Command)
@click.argument("promise_id", metavar="ID")
@asynchronous
async def get(chosen: Settings, promise_id: str) -> int:
    """Show a promise."""
    from durable.cli.engine_or_client import looked_at

    async with looked_at(chosen) as store:
        found = await _found(store, promise_id)
    return _show(chosen.out(), found)


@command.command("list", cls=Command)
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Only those with this tag. May be given again.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many.")
@click.option("--after", metavar="ID", help="The next page: those after this one.")
def list_(state: str | None, tags: tuple[str, ...], limit: int, after: str | None) -> int:
    """Promises in order of their ids."""
    chosen = settings()
    return in_loop(lambda: _list(chosen, state, tags, limit, after))


@command.command("resolve", cls=Command)
@click.argument("promise_id", metavar="ID")
@click.argument("value", required=False)
def resolve(promise_id: str, value: str | None) -> int:
    """Settle a promise with VALUE: JSON where it parses, else text."""
    chosen = settings()
    return in_loop(lambda: _settle(chosen, promise_id, "resolved", None if value is None else parsed(value)))


@command.command("reject", cls=Command)
@click.argument("promise_id", metavar="ID")
@click.argument("message", default="rejected")
def reject(promise_id: str, message: str) -> int:
    """Settle a promise with an error."""
    chosen = settings()
    value = {"__type": "error", "message": message}
    return in_loop(lambda: _settle(chosen, promise_id, "rejected", value))


@command.command("cancel", cls=Command)
@click.argument("promise_id", metavar="ID")
def cancel(promise_id: str) -> int:
    """Settle a promise as cancelled."""
    chosen = settings()
    return in_loop(lambda: _settle(chosen, promise_id, "rejected_canceled", None))


def parsed(text: str) -> Any:
    """JSON where it parses, else the text."""
    from durable.cli.arguments import Word

    return Word(text).value


def tags_of(pairs: tuple[str, ...]) -> dict[str, str]:
    """KEY=VALUE pairs as tags."""
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise click.UsageError(f"{pair!r} is not KEY=VALUE")
        found[key] = value
    return found


async def _create(
    chosen: Settings, promise_id: str, param: str | None, timeout: float | None, pairs: tuple[str, ...]
) -> int:
    from durable.cli.engine_or_client import opened
    from durable.core.clock import TIME_MAX_MS, now_ms
    from durable.core.errors import Conflict
    from durable.records.values import pack

    nonce = uuid.uuid4().hex
    timeout_at = TIME_MAX_MS if timeout is None else now_ms() + int(timeout * 1000)
    tags = {"resonate:external": "true", **tags_of(pairs), "durable:nonce": nonce}
    data = None if param is None else pack(parsed(param))
    async with opened(chosen, create=True) as store:
        value = {} if data is None else {"data": data}
        request = {"id": promise_id, "timeoutAt": timeout_at, "param": value, "tags": tags}
        found = (await store.request("promise.create", request)).data["promise"]
    if found["tags"].get("durable:nonce") != nonce:
        raise Conflict(f"promise {promise_id!r} exists and is {found['state']}; nothing was changed")
    return _show(chosen.out(), found)


async def _list(chosen: Settings, state: str | None, pairs: tuple[str, ...], limit: int, after: str | None) -> int:
    from durable.cli.engine_or_client import opened
    from durable.engine.views import promise_view
    from durable.store.rows import promise_row

    request: dict[str, object] = {"limit": limit, "tags": tags_of(pairs)}
    if state is not None:
        request["state"] = state
    if after is not None:
        request["cursor"] = f">{after}"
    async with opened(chosen, create=False) as store:
        found = (await store.request("promise.search", request)).data["promises"]
    out = chosen.out()
    views = [promise_view(promise_row(each)) for each in found]
    if out.json:
        out.document(views)
    else:
        columns = ("id", "state", "created", "deadline", "settled")
        rows = [(view.id, view.state, view.created_at, view.timeout_at, view.settled_at) for view in views]
        out.table(columns, rows, "no promises")
    return exit_codes.DONE


async def _settle(chosen: Settings, promise_id: str, state: str, value: Any) -> int:
    from durable.cli.engine_or_client import opened
    from durable.core.errors import Conflict
    from durable.records.values import pack

    data = pack(value)
    async with opened(chosen, create=False) as store:
        before = await _found(store, promise_id)
        found = before
        if before["state"] == "pending":
            request = {"id": promise_id, "state": state, "value": {} if data is None else {"data": data}}
            found = (await store.request("promise.settle", request)).data["promise"]
    mine = (found["state"], found["value"].get("data")) == (state, data)
    if before["state"] != "pending" or not mine:
        raise Conflict(f"promise {promise_id!r} was settled before: it is {found['state']}")
    return _show(chosen.out(), found)


async def _found(store: StoreFace, promise_id: str) -> dict[str, Any]:
    from durable.core.errors import not_found

    with not_found("promise", promise_id, "`durable promise list` shows what there is"):
        record: dict[str, Any] = (await store.request("promise.get", {"id": promise_id})).data["promise"]
    return record


def _show(out: Out, record: dict[str, Any]) -> int:
    from durable.engine.views import promise_view
    from durable.store.rows import promise_row

    view = promise_view(promise_row(record))
    if out.json:
        out.document(view)
        return exit_codes.DONE
    from durable.cli.text_output import to_text

    for name in view.__dataclass_fields__:
        value = getattr(view, name)
        if value not in (None, {}):
            out.text(f"{name}\t{value if isinstance(value, str) else to_text(value)}")
    return exit_codes.DONE
