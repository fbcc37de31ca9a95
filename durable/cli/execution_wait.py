"""Following an execution that exists, being its engine when nobody else is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from durable.cli.command_group import Settings
from durable.cli.engine_or_client import CommandWork, drive, opened
from durable.cli.execution_status import GoesOn, Standing, find, needs_of, served, stand
from durable.cli.exit_codes import TookTooLong
from durable.cli.open_prompts import asker
from durable.cli.progress import Steps
from durable.cli.text_output import Out
from durable.core.errors import DurableError, StoreMissing

if TYPE_CHECKING:
    from durable.engine.engine import Engine


async def follow(
    chosen: Settings,
    out: Out,
    execution_id: str,
    *,
    timeout: float | None = None,
    first: Callable[[Engine], Awaitable[None]] | None = None,
) -> Standing:
    """Where it comes to rest. `first` is done on the open engine before. Raises NotFound, NotServed, TookTooLong."""
    async with opened(chosen, create=False) as store:
        row = await find(store.reads, execution_id)
        needs = await needs_of(store.reads, row.id)
        standing = await stand(store.reads, row.id)
    if first is None and not isinstance(standing, GoesOn):
        return standing
    out.protect()
    steps = Steps(out)

    async def begin(engine: Engine) -> str:
        await steps.begin(engine, row.id)
        if first is not None:
            await first(engine)
        await steps.say_goes_on(engine, row.id)
        return row.id

    try:
        async with asyncio.timeout(timeout):
            return await drive(chosen, out, CommandWork(begin, needs, steps, asker(chosen, out)))
    except TimeoutError:
        raise TookTooLong(f"{row.id} has not ended after {timeout:g} s; it is kept and goes on") from None
    except BaseException as error:
        if not isinstance(error, Exception):
            await say_kept(chosen, out, row.id)
        raise


async def say_kept(chosen: Settings, out: Out, execution_id: str) -> None:
    """After Ctrl-C: whether it was recorded before that, and who goes on with it, as the store has it."""
    try:
        async with opened(chosen, create=False) as store:
            row = await store.reads.get_execution(execution_id)
            alive = row is not None and (await served(store)).serve(await needs_of(store.reads, row.id))
    except StoreMissing:
        row, alive = None, False  # it was not made yet
    except DurableError:
        return
    if row is None:
        out.say(f"{execution_id} had not begun: nothing of it was recorded")
    elif row.settled_at is not None:
        out.say(f"{execution_id} has ended: it is {row.state}; see durable result {execution_id}")
    elif alive:
        out.say(f"{execution_id} goes on, another process is its engine; follow it with: durable wait {execution_id}")
    else:
        out.say(f"{execution_id} is kept; go on with: durable resume {execution_id}")
