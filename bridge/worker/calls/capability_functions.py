"""The functions by which user code calls the host: one for each granted capability (specs/session.md, Calls)."""

from __future__ import annotations

import inspect
import opcode
import os
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import msgspec

from bridge.worker.calls.calls import Calls

_GET_AWAITABLE = opcode.opmap["GET_AWAITABLE"]
_CACHE = opcode.opmap["CACHE"]
_INSTRUCTION_BYTES = 2

QUESTIONS = frozenset({"ask", "choose", "approve", "review"})

type Described = Mapping[str, Any]
"""The host's description of a capability: name, doc, and methods, each with doc, parameters, returns."""


class CapabilityFunction:
    """A capability as user code sees it: `f(...)`, `await f(...)`, `f.aio(...)`. Pickled by its name."""

    def __init__(self, calls: Calls, name: str, described: Described | None = None, method: str = "") -> None:
        self._calls = calls
        self._capability = name
        self._method = method
        self.__name__ = method or name
        self.__qualname__ = f"{name}.{method}" if method else name
        self.__module__ = "builtins"
        self.__doc__ = f"Ask the host: {self.__qualname__}."
        self._takes: inspect.Signature | None = None
        self._callable = True
        if described is not None:
            self.describe(described)

    def describe(self, described: Described) -> None:
        """Take signature, docstring and methods from what the host says."""
        methods = described["methods"]
        self._callable = self._method in methods
        doc = described["doc"]
        if self._callable:
            found = methods[self._method]
            self._takes = self.__signature__ = _signature(found)
            doc = f"{self.__qualname__}{self._takes}\n\n{found['doc'] or doc}"
        self.__doc__ = f"{doc}\n\nAwait it, or use .aio(...) to pass the awaitable on."
        if not self._method:
            for name in methods.keys() - {"", *self.__dict__}:
                setattr(self, name, type(self)(self._calls, self._capability, described, name))

    def _check(self, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        if not self._callable:
            raise TypeError(f"{self._capability} is not called itself: see help({self._capability})")
        if self._takes is None:
            return
        try:
            self._takes.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.__qualname__}() {error}; it is {self.__qualname__}{self._takes}") from None

    def __call__(self, *args: object, **kwargs: object) -> object:
        self._check(args, kwargs)
        if awaited_at_once(sys._getframe().f_back):
            return self.aio(*args, **kwargs)
        return self._calls.ask(self._capability, args, kwargs, self._method)

    async def aio(self, *args: object, **kwargs: object) -> object:
        """The awaitable form."""
        self._check(args, kwargs)
        return await self._calls.ask_in_loop(self._capability, args, kwargs, self._method)

    def __repr__(self) -> str:
        return f"<capability {self.__qualname__}>"

    def __reduce__(self) -> tuple[Callable[[str, str], Any], tuple[str, str]]:
        return granted_function, (self._capability, self._method)


class InputFunction(CapabilityFunction):
    """`input`: prints its prompt, gives back text."""

    def __call__(self, *args: object, **kwargs: object) -> object:
        if awaited_at_once(sys._getframe().f_back):
            return self.aio(*args, **kwargs)
        if _replaced() and not kwargs:
            return _read_line(self._show(args))
        return _text(self._calls.ask("input", self._show(args), kwargs))

    async def aio(self, *args: object, **kwargs: object) -> object:
        """The awaitable form."""
        if _replaced() and not kwargs:
            return _read_line(self._show(args))
        return _text(await self._calls.ask_in_loop("input", self._show(args), kwargs))

    @staticmethod
    def _show(args: tuple[object, ...]) -> tuple[str]:
        if len(args) > 1:
            raise TypeError(f"input expected at most 1 argument, got {len(args)}")
        text = str(args[0]) if args else ""
        if text and os.environ.get("DURABLE_NOTEBOOK") != "1":  # a notebook shows it beside its input field
            print(text, end="", flush=True)
        return (text,)


def _replaced() -> bool:
    """User code put something else in the place of `sys.stdin`: `input` reads from that, as Python's does."""
    return sys.stdin is not sys.__stdin__


def _read_line(_prompt: tuple[str]) -> str:
    if sys.stdin is None:
        raise RuntimeError("input(): lost sys.stdin")
    line = sys.stdin.readline()
    if not line:
        raise EOFError("EOF when reading a line")
    return line.removesuffix("\n")


class _Shown(str):
    """An annotation's text, which `help` shows without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _signature(method: Mapping[str, Any]) -> inspect.Signature:
    empty = inspect.Parameter.empty
    parameters = [
        inspect.Parameter(
            each["name"],
            inspect._ParameterKind(each["kind"]),
            default=each.get("default", empty),
            annotation=_Shown(each["annotation"]) if "annotation" in each else empty,
        )
        for each in method["parameters"]
    ]
    return inspect.Signature(parameters, return_annotation=_Shown(method["returns"]) if method["returns"] else empty)


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def awaited_at_once(frame: FrameType | None) -> bool:
    """Whether the caller's next instruction awaits what the call returns, as in `await input(...)`."""
    if frame is None:  # a thread of `_thread` was started with it
        return False
    code = frame.f_code.co_code
    at = frame.f_lasti + _INSTRUCTION_BYTES
    while at < len(code) and code[at] == _CACHE:
        at += _INSTRUCTION_BYTES
    return at < len(code) and code[at] == _GET_AWAITABLE


GRANTED: dict[str, CapabilityFunction] = {}
"""The functions that exist now, by name; `granted_functions.grant` fills it."""


def granted_function(name: str, method: str = "") -> CapabilityFunction:
    """The function of a granted capability (how a pickled reference to one comes back)."""
    try:
        found = GRANTED[name]
    except KeyError:
        raise PermissionError(f"the capability {name!r} is not granted to this session") from None
    return getattr(found, method) if method else found


def granted() -> Mapping[str, CapabilityFunction]:
    """The functions that exist now, by name."""
    return GRANTED
