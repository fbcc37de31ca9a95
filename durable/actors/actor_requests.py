"""Requests of actors whose replies come as messages: a durable function that asks, and tells the one that asked."""

from __future__ import annotations

from typing import Any

from durable.actors.names import kind_and_key
from durable.core.errors import DurableError
from durable.functions.context import Context
from durable.functions.definition import function
from durable.records.values import encode, from_json

CALLBACK = "handle_callback"
MESSAGE = "handle_message"


def address(name: str) -> str:
    """`class/key`, as code writes an actor's name; "" for none."""
    return "/".join(kind_and_key(name)) if name else ""


def reply_data(reply: Any) -> str:
    """The reply of `handle_message` as base64; "" for None. BadArguments for what is neither bytes nor None."""
    found = from_json(reply, bytes | None, "the reply of handle_message")
    return "" if found is None else str(encode(found, "the reply", bytes))


@function(name="actor-request")
async def actor_request(ctx: Context, asker: str, target: str, message: bytes, timeout_ms: int) -> None:
    """Send a message to the actor `target`, and its reply, or why there is none in time, to the actor `asker`."""
    actors: Any = ctx._cells.actors
    own = ctx.id
    reference = actors.inside_by_name(ctx, target).options(timeout=timeout_ms / 1_000)
    try:
        reply = await reference.handle_message(address(asker), encode(message, "the message", bytes))
        answer: dict[str, Any] = {"ok": reply_data(reply)}
    except DurableError as error:
        answer = {"err": failure_of(error)}

    async def tell(answer: dict[str, Any]) -> None:
        await actors.messaging.answer(asker, own, answer)

    await ctx.run(tell, answer)


def failure_of(error: Exception) -> dict[str, str]:
    """The `failure` of WIT for an error: its class, and its text."""
    kind = "RequestTimedOut" if isinstance(error, TimeoutError) else type(error).__name__
    return {"kind": kind, "message": str(error)}


actor_request.startable = False
