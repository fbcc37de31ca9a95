"""Following an execution that exists, being its engine when nobody else is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from durable.cli.app import Settings
from durable.cli.engine_or_client import CommandWork, drive, opened
from durable.cli.execution_status import GoesOn, Standing, find, needs_of, stand
from durable.cli.exit_codes import TookTooLong
from durable.cli.output import Out
from durable.cli.progress import Steps
from durable.cli.prompts import asker

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
