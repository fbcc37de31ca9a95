"""Reminders of actors: a durable function that sleeps, sends a message, and sleeps again."""

from __future__ import annotations

from typing import Any

from durable.functions.context import Context
from durable.functions.definition import function

REMINDER_TURNS_MAX = 100
"""Messages of one execution: a replay goes over all of its record, so another one goes on from there."""


@function(name="actor-reminder")
async def actor_reminder(
    ctx: Context, actor: str, name: str, method: str, args: list[Any], first: float, again: float | None
) -> None:
    """Send a message to an actor after `first` seconds, and every `again` seconds from then on."""
    actors: Any = ctx._cells.actors
    own = ctx.id

    async def send(number: int) -> bool:
        sent: bool = await actors.send_reminder(actor, method, args, f"{own} {number}")
        return sent

    async def go_on() -> None:
        await actors.begin_reminder(actor, name, method, args, again, again, f"{own} next")

    async def end() -> None:
        await actors.end_of_reminder(actor, name, own)

    await ctx.sleep(first)
    for number in range(1, REMINDER_TURNS_MAX + 1):
        there = await ctx.run(send, number)
        if again is None:
            await ctx.run(end)
        if again is None or there is False:  # the actor was deleted
            return
        if number < REMINDER_TURNS_MAX:
            await ctx.sleep(again)
    await ctx.run(go_on)


actor_reminder.startable = False
