"""The user's code of a durable function, as every pass performs it: live, replayed for a check, or for a test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from durable.records.values import encode, shaped_call

if TYPE_CHECKING:
    from durable.functions.context import Context
    from durable.functions.definition import Function


async def perform(context: Context, function: Function[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
    """The encoded result of a function for recorded arguments."""
    shaped, named = shaped_call(function.fn, args, kwargs, skip_first=True)
    return await perform_body(context, function.fn, shaped, named, function.name, function.returns)


async def perform_body(
    context: Context,
    fn: Callable[..., Awaitable[Any]],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    name: str,
    returns: Any,
) -> Any:
    """The encoded result of the code. When it fails or is cancelled, its compensations are called first."""
    try:
        value = await fn(context, *args, **kwargs)
    except (Exception, asyncio.CancelledError) as error:
        await context.undo(error)
        raise
    return encode(value, f"the result of {name}", returns)
