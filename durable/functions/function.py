"""`@durable.function`: what makes a coroutine function durable is an identity that outlives the process.

The identity is `where::name@version`. `where` is the module's dotted name, or the absolute path of the file for a
module that runs as a script or was loaded by `durable run FILE::FUNC`, so both name the same function.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar, cast, overload

from durable.core.defined import where
from durable.core.errors import BadArguments
from durable.functions import notation
from durable.functions.values import argument_digests, bind_json, encode_arguments, hints_of

P = ParamSpec("P")
T_co = TypeVar("T_co", covariant=True)

KNOWN: dict[str, Function[..., Any]] = {}
"""Every durable function of this process by its id; the newest definition of an id counts."""

_learning: list[Callable[[Function[..., Any]], None]] = []


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a step or a function without steps is tried again after it raised.

    The n-th retry comes after `delay * factor ** (n - 1)` seconds, at most `max_delay`.
    """

    max_retries: int = 3
    delay: float = 0.1
    factor: float = 2.0
    max_delay: float = 60.0

    def next(self, attempt: int) -> int | None:
        """Seconds before the retry `attempt` (from 1), or None for no more: the SDK's policy protocol."""
        if attempt > self.max_retries:
            return None
        # The SDK's annotation says int; its sleeper takes fractions.
        return cast(int, min(self.delay * self.factor ** (attempt - 1), self.max_delay))


NEVER = Retry(max_retries=0)


class Function[**P, T_co]:
    """A durable function. Call it through `engine.start` or `ctx.run`; calling it directly just runs its code."""

    def __init__(
        self,
        fn: Callable[Concatenate[Any, P], Awaitable[T_co]],
        *,
        name: str | None = None,
        version: int = 1,
        retry: Retry = NEVER,
    ) -> None:
        if not inspect.iscoroutinefunction(fn):
            raise BadArguments(
                f"@durable.function needs `async def`, {getattr(fn, '__name__', fn)!r} is not a coroutine function"
            )
        if not inspect.signature(fn).parameters:
            raise BadArguments(f"{fn.__name__}: a durable function takes the context as its first argument")
        if version < 1:
            raise BadArguments(f"{fn.__name__}: version is a whole number from 1, not {version!r}")
        self.fn = fn
        self.name = name or fn.__qualname__.replace(".<locals>.", ".")
        self.version = version
        self.retry = retry
        self.where = where(fn.__module__)
        self.__name__ = fn.__name__
        self.__doc__ = fn.__doc__
        self.__module__ = fn.__module__
        self.__wrapped__ = fn
        self.returns = hints_of(fn).get("return", inspect.Parameter.empty)
        KNOWN[self.id] = self
        for learn in list(_learning):
            learn(self)

    @property
    def key(self) -> str:
        """`where::name`, the name in the SDK's registry."""
        return f"{self.where}::{self.name}"

    @property
    def id(self) -> str:
        """`where::name@version`, what engines say they serve."""
        return f"{self.key}@{self.version}"

    def pack(self, args: tuple[object, ...], kwargs: dict[str, object]) -> tuple[list[Any], dict[str, Any], str]:
        """The arguments as JSON, checked against the signature and annotations, and their digest; BadArguments.

        The digest is of what the function gets, without what equals its default: it is the same for a model and for the
        JSON of one, for `f(1)` and for `f(1, b=<default>)`.
        """
        packed, named = encode_arguments(self.fn, args, kwargs, self.name, skip_first=True)
        bound = bind_json(self.fn, packed, named, skip_first=True)
        return packed, named, next(argument_digests(bound))

    def is_call(self, arguments: str, packed: list[Any], named: dict[str, Any]) -> bool:
        """Whether a recorded digest, also one of an older version, is of a call with these packed arguments."""
        for args, kwargs in ((packed, named), (notation.shown(packed), notation.shown(named))):
            try:
                bound = bind_json(self.fn, args, kwargs, skip_first=True)
            except BadArguments:
                continue
            if arguments in argument_digests(bound):
                return True
        return False

    def __call__(self, ctx: Any, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T_co]:
        return self.fn(ctx, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<durable function {self.id}>"


def on_new(learn: Callable[[Function[..., Any]], None]) -> Callable[[], None]:
    """Call `learn` with every function defined from now on; returns what undoes it."""
    _learning.append(learn)
    return lambda: _learning.remove(learn)


@overload
def function[**P, T_co](fn: Callable[Concatenate[Any, P], Awaitable[T_co]], /) -> Function[P, T_co]: ...
@overload
def function(
    *, name: str | None = None, version: int = 1, retry: Retry = NEVER
) -> Callable[[Callable[Concatenate[Any, P], Awaitable[T_co]]], Function[P, T_co]]: ...
def function[**P, T_co](
    fn: Callable[Concatenate[Any, P], Awaitable[T_co]] | None = None,
    /,
    *,
    name: str | None = None,
    version: int = 1,
    retry: Retry = NEVER,
) -> Function[P, T_co] | Callable[[Callable[Concatenate[Any, P], Awaitable[T_co]]], Function[P, T_co]]:
    """Make `async def f(ctx, ...)` durable: its finished steps are never run again.

    name: its name in the record, default the function's own. version: raise it when a change would break the
    executions that are under way; engines go on serving the versions they know. retry: for a function that
    raises before it made a step.
    """
    if fn is not None:
        return Function(fn)
    return lambda f: Function(f, name=name, version=version, retry=retry)


def seconds(value: float | timedelta | None) -> float | None:
    """A duration given as seconds or timedelta, in seconds; raises BadArguments when it is negative."""
    if value is None:
        return None
    found = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if found < 0:
        raise BadArguments(f"a duration cannot be negative: {value!r}")
    return found
