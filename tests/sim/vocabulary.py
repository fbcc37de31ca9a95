"""The vocabulary of the generated functions: steps with an effect outside, a log, names of the standard library.

A step waits until the conductor lets it go, writes its effect down, and returns a value that says which step it was.
"""

from __future__ import annotations

import asyncio
import linecache
import uuid
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

import anyio

import durable
from capabilities.capability import call_id
from durable import Retry

from .conductor import Conductor

_conductor: Conductor | None = None


def conduct(conductor: Conductor) -> None:
    """The steps of this process are let go by that conductor."""
    global _conductor
    _conductor = conductor


def _theirs() -> Conductor:
    assert _conductor is not None
    return _conductor


async def act(tag: str, argument: Any = None) -> str:
    await _theirs().permission(tag)
    _theirs().effect(tag, "act", [argument], tag)
    return tag


def act_now(tag: str, argument: Any = None) -> str:
    _theirs().permission_in_thread(tag)
    _theirs().effect(tag, "act", [argument], tag)
    return tag


async def fail(tag: str, argument: Any = None) -> str:
    await _theirs().permission(tag)
    _theirs().effect(tag, "fail", [argument], tag)
    raise ValueError(f"{tag} failed")


def fail_now(tag: str, argument: Any = None) -> str:
    _theirs().permission_in_thread(tag)
    _theirs().effect(tag, "fail", [argument], tag)
    raise ValueError(f"{tag} failed")


async def flaky(tag: str, failing: int) -> str:
    """Fails so many times. Each try is another effect; which one it is says the record, as no life knows them all."""
    tried = f"{tag}.{_theirs().retries(call_id())}"
    await _theirs().permission(tried)
    if int(tried.rpartition(".")[2]) < failing:
        _theirs().effect(tried, "fail", [failing], tried)
        raise ValueError(f"{tried} failed")
    _theirs().effect(tried, "act", [failing], tried)
    return tried


async def key(tag: str) -> str:
    """An idempotency key, another one at each call."""
    await _theirs().permission(tag)
    made = uuid.uuid4().hex
    _theirs().effect(tag, "key", [], made)
    return made


async def charge(tag: str, key: str, amount: int) -> str:
    await _theirs().permission(tag)
    _theirs().effect(tag, "charge", [key, amount], f"{tag} took {amount} with {key}")
    return f"{tag} took {amount} with {key}"


async def send(tag: str, name: str) -> str:
    """Sends a signal to its own execution, once however often it runs."""
    await _theirs().permission(tag)
    _theirs().effect(tag, "send", [name], tag)
    engine = _theirs().engine
    assert engine is not None
    await engine.signal("run", name, tag, key=tag)
    return tag


async def tell(tag: str, name: str, own: bool = False, failing: int = 0) -> str:
    """Writes to a stream of its execution before its effect and after it; with `own` something else in each run.

    Fails so many times, each of which is another effect.
    """
    tried = f"{tag}.{_theirs().retries(call_id())}" if failing else tag
    await _theirs().permission(tried)
    out = durable.stream(name)
    await out.write(f"{tag} begins", "at once")
    _theirs().effect(tried, "tell", [name], tag)
    await out.write(["own", uuid.uuid4().hex] if own else f"{tag} goes on")
    out.write(f"{tag} ends")
    if failing and int(tried.rpartition(".")[2]) < failing:
        raise ValueError(f"{tried} failed")
    return tag


@durable.function(name="helper")
async def helper(ctx: durable.Context, tag: str, *, asks: bool = False, fails: bool = False) -> str:
    """A child execution: a step, a question, a step that cleans up however it ends."""
    try:
        got = await ctx.run(partial(act, f"{tag}/c1"))
        if asks:
            got += f" {await ctx.ask(tag)}"
        if fails:
            await ctx.run(partial(fail, f"{tag}/c2"))
        return got
    finally:
        await ctx.run(partial(act, f"{tag}/c3"))


class Teller:
    """Steps that are bound methods."""

    def __init__(self, tag: str) -> None:
        self._tag = tag

    async def act(self, argument: Any) -> str:
        return await act(self._tag, argument)

    async def fail(self, argument: Any) -> str:
        return await fail(self._tag, argument)


class Caller:
    """A step that is an object with an async `__call__`."""

    def __init__(self, fn: Callable[[str, Any], Awaitable[str]], tag: str) -> None:
        self._fn = fn
        self._tag = tag

    async def __call__(self, argument: Any) -> str:
        return await self._fn(self._tag, argument)


def log(ctx: Any, text: str) -> None:
    """`ctx.log` where the engine has it: its event is written down. Without it every pass writes its lines."""
    if hasattr(ctx, "log"):
        ctx.log(text)
    else:
        _theirs().log_without_engine(ctx.id, text)


def came(future: asyncio.Future[Any]) -> Any:
    """What a future that is done came to."""
    if future.cancelled():
        return None
    error = future.exception()
    return future.result() if error is None else f"{type(error).__name__}: {error}"


def ended(path: str) -> None:
    """A nested function reached its end, in this pass or an earlier one."""
    _theirs().journal.write("ended", path=path)


NAMES = {
    "asyncio": asyncio,
    "anyio": anyio,
    "partial": partial,
    "aclosing": aclosing,
    "Retry": Retry,
    "act": act,
    "act_now": act_now,
    "fail": fail,
    "fail_now": fail_now,
    "flaky": flaky,
    "came": came,
    "key": key,
    "charge": charge,
    "send": send,
    "tell": tell,
    "helper": helper,
    "Teller": Teller,
    "Caller": Caller,
    "log": log,
    "ended": ended,
}


def compiled(source: str) -> Callable[[Any], Awaitable[Any]]:
    """`main` of a program's source; tracebacks show its lines."""
    file = "<program>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    names: dict[str, Any] = {"__name__": "program", **NAMES}
    exec(compile(source, file, "exec"), names)
    main: Callable[[Any], Awaitable[Any]] = names["main"]
    return main
