"""`@durable.function`: what makes a coroutine function durable is an identity that outlives the process.

The identity is `where::name@version`, or `name@version` where a name is given (specs/execution.md, Identity). `where`
is the module's dotted name, or the name of a file that is no module: a script, or what `durable run FILE::FUNC` loads.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, cast, overload

import msgspec

from durable.core.definition_id import file_of, source, spellings, where, where_of_file
from durable.core.durations import SECONDS_MAX, ExecutionAge, retention_rules
from durable.core.errors import BadArguments, Conflict, Fatal, RetryAfter
from durable.core.frozen_record import FrozenRecord
from durable.functions.failures import Rejection, raised, rebuild
from durable.functions.pass_data import Companion
from durable.functions.redefinition import Definition
from durable.records import notation
from durable.records.values import argument_digests, bind_json, call_digest, encode_arguments, hints_of

P = ParamSpec("P")
T_co = TypeVar("T_co", covariant=True)

KNOWN: dict[str, Function[..., Any]] = {}
"""Every durable function of this process by each id under which it is served; the newest definition counts."""

_ambiguous: set[str] = set()
"""Weak ids that two functions could have: nobody is served by them."""

_RESERVED = ("durable_execute", "capability")
"""The functions that engines serve beside durable ones: cells, and capabilities of sessions."""

_learning: list[Callable[[Function[..., Any]], None]] = []


type Kind = type[BaseException] | str
"""An exception class, or its qualified name: `"pkg.MyError"`, `"ValueError"`."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a step or a function without steps is tried again after it raised.

    The n-th retry comes after `delay * factor ** (n - 1)` seconds, at most `max_delay`. jitter: the part of that, from
    0 to 1, that is left to chance, so that many who failed together do not come back together; the chance is the same
    for the same execution and retry. retry_on: only errors of these classes are tried again; all by default.
    give_up_on: errors of these are not. Both take classes and qualified names, which match classes derived from them.

    A step that raises `durable.Fatal` is never tried again. One that raises `durable.RetryAfter` is, that many seconds
    later at the earliest, whatever its class; where no retry is asked for, as often as `Retry()` says.
    on_exhausted: "fail" lets the step fail when all retries are used up; "pause" halts the execution instead, until
    somebody resumes it, which tries the step once more. Raises BadArguments for what makes no sense.
    """

    max_retries: int = 3
    delay: float = 0.1
    factor: float = 2.0
    max_delay: float = 60.0
    jitter: float = 0.0
    retry_on: Kind | tuple[Kind, ...] = ()
    give_up_on: Kind | tuple[Kind, ...] = ()
    on_exhausted: Literal["fail", "pause"] = "fail"

    def __post_init__(self) -> None:
        if not isinstance(self.max_retries, int) or isinstance(self.max_retries, bool) or self.max_retries < 0:
            raise BadArguments(f"Retry: max_retries is a whole number from 0, not {self.max_retries!r}")
        for name, least, most in (
            ("delay", 0.0, SECONDS_MAX),
            ("factor", 0.0, FACTOR_MAX),
            ("max_delay", 0.0, SECONDS_MAX),
            ("jitter", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if isinstance(value, timedelta):
                value = value.total_seconds()
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
                raise BadArguments(f"Retry: {name} is a number from {least:g} to {most:g}, not {value!r}")
            object.__setattr__(self, name, value)
        for name in ("retry_on", "give_up_on"):
            kinds = getattr(self, name)
            kinds = (kinds,) if isinstance(kinds, str | type) else kinds
            if not isinstance(kinds, tuple | list | set | frozenset) or not all(map(_is_kind, kinds)):
                raise BadArguments(f'Retry: {name} takes exception classes or names like "pkg.MyError", not {kinds!r}')
            object.__setattr__(self, name, tuple(kinds))
        if self.on_exhausted not in ("fail", "pause"):
            raise BadArguments(f'Retry: on_exhausted is "fail" or "pause", not {self.on_exhausted!r}')

    def next(self, attempt: int) -> int | None:
        """Seconds before the retry `attempt` (from 1), or None for no more: the SDK's policy protocol."""
        if attempt > self.max_retries:
            return None
        # The SDK's annotation says int; its sleeper takes fractions.
        return cast(int, self._wait(attempt))

    def decide(self, attempt: int, error: BaseException, execution_id: str = "") -> float | None:
        """Seconds before the retry `attempt` (from 1) of a step that raised `error`, or None for no more.

        error: what the step raised, or its ExecutionError, or the Rejection of it. execution_id: seeds the jitter.
        """
        if isinstance(error, Rejection):
            error = rebuild("rejected", {"message": str(error)}, execution_id)
        after = error if isinstance(error, RetryAfter) else None
        most = self.max_retries if after is None else self.max_retries or RETRIES_AFTER_MAX
        if attempt > most or raised(error, Fatal):
            return None
        wait = self._wait(attempt) * (1 - self.jitter * _chance(execution_id, attempt))
        if after is not None:
            return max(wait, float(after.seconds))
        if raised(error, *self._kinds("give_up_on")):
            return None
        if self.retry_on and not raised(error, *self._kinds("retry_on")):
            return None
        return wait

    def pauses(self, attempt: int, error: BaseException, execution_id: str = "") -> bool:
        """Whether a step that is not tried again halts its execution: its retries are used up, and it may be right
        later. `attempt`, `error`, `execution_id` as for `decide`, which gave None."""
        if self.on_exhausted == "fail" or attempt <= self.max_retries:
            return False
        if isinstance(error, Rejection):
            error = rebuild("rejected", {"message": str(error)}, execution_id)
        given_up = raised(error, Fatal, *self._kinds("give_up_on"))
        return not given_up and (not self.retry_on or raised(error, *self._kinds("retry_on")))

    def _kinds(self, name: str) -> tuple[Kind, ...]:
        return cast("tuple[Kind, ...]", getattr(self, name))

    def _wait(self, attempt: int) -> float:
        try:
            return min(self.delay * self.factor ** (attempt - 1), self.max_delay)
        except OverflowError:
            return self.max_delay


FACTOR_MAX = 1e6

RETRIES_AFTER_MAX = 3
"""Retries of a step that asks for them itself and has no Retry."""


def _is_kind(kind: object) -> bool:
    return (isinstance(kind, str) and bool(kind)) or (isinstance(kind, type) and issubclass(kind, BaseException))


def _chance(execution_id: str, attempt: int) -> float:
    """A number from 0 to 1, the same for the same execution and attempt in every process."""
    drawn = hashlib.blake2b(f"{execution_id}:{attempt}".encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(drawn) / 2**64


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
        aliases: Iterable[str] = (),
        instance: str = "",
        retention: ExecutionAge | None = None,
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
        self.companion: Companion | None = None
        self.startable = True
        """Whether people start it by its name: not turns of an actor, nor what the engine runs for itself."""
        module, own = fn.__module__, fn.__qualname__
        if instance:
            owner = type(cast(MethodType, fn).__self__)
            module, own = owner.__module__, f"{owner.__qualname__}({instance}).{fn.__name__}"
            name = None if name is None else f"{name}({instance})"
        self.given_name = None if name is None else _check_name(name)
        self.name = name or own.replace(".<locals>.", ".")
        self.version = version
        self.retry = retry
        self.retention = None if retention is None else retention_rules(retention, fn.__name__)
        """How long executions are kept once they have ended: ms by state, None in it for ever."""
        self.where = where(module)
        self.source = file_of(module) or source(module)
        self.definition = Definition.here(__name__)
        self.__name__ = fn.__name__
        self.__doc__ = fn.__doc__
        self.__module__ = module
        self.__wrapped__ = fn
        self.returns = hints_of(fn).get("return", inspect.Parameter.empty)
        lint = os.environ.get("DURABLE_LINT")
        if lint:
            from durable.lint.import_warning import tell

            tell(lint, file_of(fn.__module__), fn.__qualname__)
        self.own_ids = _own_ids(self, aliases)
        self.weak_ids = _weak_ids(self)
        self._enter()
        for learn in list(_learning):
            learn(self)

    @property
    def key(self) -> str:
        """`where::name`, or the name alone where one is given: the name that tasks give."""
        return self.given_name or f"{self.where}::{self.name}"

    @property
    def id(self) -> str:
        """The key with `@version`: what is recorded with an execution."""
        return f"{self.key}@{self.version}"

    @property
    def ids(self) -> list[str]:
        """All ids under which engines serve it: its own, other spellings, and what it was known by before."""
        return [each for each in (*self.own_ids, *self.weak_ids) if KNOWN.get(each) is self]

    def _enter(self) -> None:
        """Enter these ids in this process, in place of an earlier definition of the same; Conflict."""
        shared = [(each, known) for each in (*self.own_ids, *self.weak_ids) if (known := KNOWN.get(each)) is not None]
        beside = [(each, known) for each, known in shared if known.definition.is_beside(self.definition)]
        for each, known in beside:
            if each in self.own_ids and each in known.own_ids:
                raise _two_functions(each, known, self)
        for known in {each: known for each, known in shared if (each, known) not in beside}.values():
            for each in known.ids:
                del KNOWN[each]
        _ambiguous.update(each for each, known in beside if each in known.weak_ids)
        KNOWN.update(dict.fromkeys(self.own_ids, self))
        KNOWN.update({each: self for each in self.weak_ids if KNOWN.get(each) is None})
        for each in _ambiguous.difference(self.own_ids):
            KNOWN.pop(each, None)

    def check_newest(self) -> None:
        """Raise Conflict where engines would run another function under this id: one that a later call defined."""
        newest = KNOWN.get(self.id, self)
        if newest is not self and not newest.definition.at_import:
            raise _two_functions(self.id, self, newest)

    def pack(self, args: tuple[object, ...], kwargs: dict[str, object]) -> tuple[list[Any], dict[str, Any], str]:
        """The arguments as JSON, checked against the signature and annotations, and their digest; BadArguments.

        The digest is of what the function gets, without what equals its default: it is the same for a model and for the
        JSON of one, for `f(1)` and for `f(1, b=<default>)`.
        """
        packed, named = encode_arguments(self.fn, args, kwargs, self.name, skip_first=True)
        return packed, named, call_digest(self.fn, packed, named, skip_first=True)

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

    if TYPE_CHECKING:  # what `@durable.function` gives in a class is a DurableMethod

        @overload
        def __get__(self, instance: None, owner: type) -> Function[P, T_co]: ...
        @overload
        def __get__[**Q](
            self: Function[Concatenate[Any, Q], T_co], instance: object, owner: type
        ) -> Function[Q, T_co]: ...
        def __get__(self, instance: object, owner: type) -> Any: ...


# -- methods of configured instances ------------------------------------------------------------------------------


class DurableMethod(FrozenRecord, frozen=True, eq=False):
    """A method with `@durable.function`: of each registered instance of its class it is a function of its own."""

    fn: Callable[..., Awaitable[Any]]
    options: Mapping[str, Any]

    def __get__(self, instance: object, owner: type) -> Any:
        if instance is None:
            return self
        registered = _registered.get(id(instance))
        found = None if registered is None else registered.functions.get(self.fn.__name__)
        return UnregisteredMethod(self.fn, instance) if found is None else found

    def __repr__(self) -> str:
        return f"<durable method {self.fn.__qualname__}>"


class UnregisteredMethod(FrozenRecord, frozen=True, eq=False):
    """A durable method of an instance that nobody registered: it can be called, and not started."""

    fn: Callable[..., Awaitable[Any]]
    instance: object

    def __call__(self, ctx: Any, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        return self.fn(self.instance, ctx, *args, **kwargs)


class _Instance(msgspec.Struct):
    """A registered object, its name, and its durable methods."""

    object: object
    name: str
    functions: dict[str, Function[..., Any]]


_registered: dict[int, _Instance] = {}
"""Instances by their identity, which they keep as long as they are here."""

INSTANCE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def register[T](instance: T, name: str) -> T:
    """Make the durable methods of an object functions of this process, under a name that outlives it. Returns it.

    Executions record `Class(name).method`. An engine runs them only where an object of that class is registered by that
    name, so register it where the class is imported, with the configuration that it has there. Again under the same
    name it takes the place of an earlier object of a class that was loaded anew. Raises BadArguments for an object
    without durable methods and for what is no name (letters, digits, `_`, `.`, `-`, at most 64); Conflict where another
    object of the class has the name, or the object has another one.
    """
    owner = type(instance)
    if not isinstance(name, str) or INSTANCE_NAME.fullmatch(name) is None:
        raise BadArguments(f"{name!r} cannot be the name of an instance: 1 to 64 letters, digits, '_', '.' and '-'")
    known = _registered.get(id(instance))
    if known is not None and known.name == name:
        return instance
    if known is not None:
        raise Conflict(f"this {owner.__qualname__} is registered already, as {known.name!r}")
    if any(type(each.object) is owner and each.name == name for each in _registered.values()):
        raise Conflict(f"another {owner.__qualname__} is registered as {name!r}: give each a name of its own")
    functions = _methods_of(instance, name)
    for other_id, other in [*_registered.items()]:
        if other.name == name and _is_same_class(type(other.object), owner):
            del _registered[other_id]  # of a class that was loaded anew
    _registered[id(instance)] = _Instance(instance, name, functions)
    return instance


def _methods_of(instance: object, name: str) -> dict[str, Function[..., Any]]:
    """The durable methods of an object as functions of this process: all of them, or none. BadArguments, Conflict."""
    owner = type(instance)
    methods = {each: inspect.getattr_static(owner, each) for each in dir(owner) if not each.startswith("__")}
    durable = {each: found for each, found in methods.items() if isinstance(found, DurableMethod)}
    if not durable:
        raise BadArguments(f"{owner.__qualname__} has no durable methods; decorate one with @durable.function")
    for each in _registered.values():
        taken = {found.given_name for found in each.functions.values()} - {None}
        again = taken & {f"{found.options['name']}({name})" for found in durable.values()}
        if again and not _is_same_class(type(each.object), owner):
            raise Conflict(f"{again.pop()} is a method of a {type(each.object).__qualname__} already: use another name")
    functions: dict[str, Function[..., Any]] = {}
    try:
        for method, found in durable.items():
            functions[method] = Function(MethodType(found.fn, instance), instance=name, **found.options)
    except BaseException:
        for function in functions.values():
            for served in function.ids:
                del KNOWN[served]
        raise
    return functions


def _is_same_class(one: type, other: type) -> bool:
    return (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)


def _is_method(fn: Callable[..., Any]) -> bool:
    """Whether a function stands in a class and takes `self` before its context."""
    in_class = "." in fn.__qualname__ and not fn.__qualname__.rpartition(".")[0].endswith("<locals>")
    return in_class and next(iter(inspect.signature(fn).parameters), "") == "self"


def require_durable(fn: object) -> None:
    """BadArguments for what is no durable function, with what to do."""
    if isinstance(fn, Function):
        return
    name = getattr(fn, "__name__", fn)
    if isinstance(fn, DurableMethod | UnregisteredMethod):
        owner, _, method = fn.fn.__qualname__.rpartition(".")
        raise BadArguments(
            f"{method} is a method: register the {owner} that it is of under a name, durable.register({owner}(…), "
            f"'NAME'), and give its own method"
        )
    raise BadArguments(f"{name!r} is not durable; decorate it with @durable.function")


def known_as(function: str) -> Function[..., Any] | None:
    """The function of this process that runs what is recorded under an id."""
    return next((KNOWN[each] for each in spellings(function) if each in KNOWN), None)


def _own_ids(function: Function[..., Any], aliases: Iterable[str]) -> tuple[str, ...]:
    """The ids that mean this function: its own first, then its module's as a file, then its former ones."""
    if isinstance(aliases, str):
        raise BadArguments(f"aliases is a list of ids: write aliases=[{aliases!r}]")
    placed = f"{function.where}::{function.name}"
    file = file_of(function.__module__)
    keys = [function.key, placed]  # a given name was recorded with its module by earlier versions
    if file is not None and function.where.isidentifier():
        keys.append(f"{where_of_file(file)}::{function.name}")
    found = [f"{each}@{function.version}" for key in keys for each in spellings(key)]
    for alias in aliases:
        found += spellings(alias if _has_version(alias) else f"{alias}@{function.version}")
    return tuple(dict.fromkeys(found))


def _weak_ids(function: Function[..., Any]) -> tuple[str, ...]:
    """Its module as a file, in a package without `__init__.py`: files of several such packages may have that name."""
    file = file_of(function.__module__)
    if file is None or "." not in function.where or function.where.endswith(".py"):
        return ()
    place = where_of_file(file)
    return () if place == function.where else (f"{place}::{function.name}@{function.version}",)


def _has_version(alias: str) -> bool:
    """Whether an id says its version; BadArguments for what is no id."""
    key, separator, version = alias.rpartition("@")
    if not alias or alias.endswith("::") or (separator and not (key and version.isascii() and version.isdecimal())):
        raise BadArguments(f"{alias!r} is no id of a function; write 'module::name', 'file.py::name' or a given name")
    return bool(separator)


def _check_name(name: str) -> str:
    """A name that stands alone in records; BadArguments."""
    if not name or "::" in name or "@" in name or name.partition(":")[0] in _RESERVED or not name.isprintable():
        raise BadArguments(
            f"name={name!r} cannot be the name of a function: it is a text without '::' and '@', and not one of "
            f"{', '.join(_RESERVED)}"
        )
    return name


def _two_functions(shared: str, one: Function[..., Any], other: Function[..., Any]) -> Conflict:
    return Conflict(
        f"two functions would be known as {shared!r}: those at {one.definition} and {other.definition}. Records say by "
        "it which one runs, so each needs its own: give @durable.function(name=...), and in a decorator that wraps "
        "functions write @functools.wraps(fn)"
    )


def on_new(learn: Callable[[Function[..., Any]], None]) -> Callable[[], None]:
    """Call `learn` with every function defined from now on; returns what undoes it."""
    _learning.append(learn)
    return lambda: _learning.remove(learn)


@overload
def function[**P, T_co](fn: Callable[Concatenate[Any, P], Awaitable[T_co]], /) -> Function[P, T_co]: ...
@overload
def function(
    *,
    name: str | None = None,
    version: int = 1,
    retry: Retry = NEVER,
    aliases: Iterable[str] = (),
    retention: ExecutionAge | None = None,
) -> Callable[[Callable[Concatenate[Any, P], Awaitable[T_co]]], Function[P, T_co]]: ...
def function[**P, T_co](
    fn: Callable[Concatenate[Any, P], Awaitable[T_co]] | None = None,
    /,
    *,
    name: str | None = None,
    version: int = 1,
    retry: Retry = NEVER,
    aliases: Iterable[str] = (),
    retention: ExecutionAge | None = None,
) -> Function[P, T_co] | Callable[[Callable[Concatenate[Any, P], Awaitable[T_co]]], Function[P, T_co]]:
    """Make `async def f(ctx, ...)` durable: its finished steps are never run again.

    name: what it is known by in records, wherever it is defined; default its module and its own name. version: raise
    it when a change would break the executions that are under way; engines go on serving the versions they know.
    retry: for an execution whose function raises before it made a step; of a nested function it is not looked at.
    In a class, with `self` before `ctx`, it is a function of each object that `durable.register` was given.
    aliases: what it was known by before it was renamed or moved, each as `module::name`, `file.py::name` or a given
    name; executions recorded so are run by it. retention: how long executions are kept once they have ended: seconds or
    timedelta, or these by state ("completed", "failed", "lost", "cancelled", "timed_out"; None in it for ever). Raises
    Conflict where another function is known by one of the aliases.
    """
    options = {"name": name, "version": version, "retry": retry, "aliases": aliases, "retention": retention}

    def decorate(fn: Callable[Concatenate[Any, P], Awaitable[T_co]]) -> Function[P, T_co]:
        if inspect.iscoroutinefunction(fn) and _is_method(fn):
            if aliases:
                raise BadArguments(f"{fn.__qualname__}: aliases are of functions; a method is known by its instances")
            return cast("Function[P, T_co]", DurableMethod(fn, options))
        return Function(fn, **cast(Any, options))

    return decorate if fn is None else decorate(fn)
