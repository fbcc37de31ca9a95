"""The functions by which user code calls the host: one for each granted capability (specs/session.md, Calls)."""

from __future__ import annotations

import builtins
import getpass
import opcode
import sys
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any

import msgspec

from bridge.worker.calls import Calls

_GET_AWAITABLE = opcode.opmap["GET_AWAITABLE"]
_CACHE = opcode.opmap["CACHE"]
_INSTRUCTION_BYTES = 2


class CapabilityFunction:
    """A capability as user code sees it: `f(...)`, `await f(...)`, `f.aio(...)`. Pickled by its name."""

    def __init__(self, calls: Calls, name: str) -> None:
        self._calls = calls
        self._capability = name
        self.__name__ = self.__qualname__ = name
        self.__module__ = "builtins"
        self.__doc__ = f"Ask the host: {name}. Await it, or use {name}.aio(...) to pass the awaitable on."

    def __call__(self, *args: object, **kwargs: object) -> object:
        if _awaited_at_once(sys._getframe(1)):
            return self.aio(*args, **kwargs)
        return self._calls.ask(self._capability, args, kwargs)

    async def aio(self, *args: object, **kwargs: object) -> object:
        """The awaitable form."""
        return await self._calls.ask_in_loop(self._capability, args, kwargs)

    def __repr__(self) -> str:
        return f"<capability {self._capability}>"

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return granted_function, (self._capability,)


class InputFunction(CapabilityFunction):
    """`input`: prints its prompt, gives back text."""

    def __call__(self, *args: object, **kwargs: object) -> object:
        if _awaited_at_once(sys._getframe(1)):
            return self.aio(*args, **kwargs)
        return _text(self._calls.ask("input", self._show(args), kwargs))

    async def aio(self, *args: object, **kwargs: object) -> object:
        """The awaitable form."""
        return _text(await self._calls.ask_in_loop("input", self._show(args), kwargs))

    @staticmethod
    def _show(args: tuple[object, ...]) -> tuple[str]:
        if len(args) > 1:
            raise TypeError(f"input expected at most 1 argument, got {len(args)}")
        text = str(args[0]) if args else ""
        if text:
            print(text, end="", flush=True)
        return (text,)


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _awaited_at_once(frame: FrameType) -> bool:
    """The caller's next instruction awaits what the call returns, as in `await input(...)`."""
    code = frame.f_code.co_code
    at = frame.f_lasti + _INSTRUCTION_BYTES
    while at < len(code) and code[at] == _CACHE:
        at += _INSTRUCTION_BYTES
    return at < len(code) and code[at] == _GET_AWAITABLE


_granted: dict[str, CapabilityFunction] = {}


def granted_function(name: str) -> CapabilityFunction:
    """The function of a granted capability (how a pickled reference to one comes back)."""
    try:
        return _granted[name]
    except KeyError:
        raise PermissionError(f"the capability {name!r} is not granted to this session") from None


def granted() -> Mapping[str, CapabilityFunction]:
    """The functions that exist now, by name."""
    return _granted


def grant(calls: Calls, names: Iterable[str]) -> None:
    """Make exactly these capabilities functions of user code. `input` always is one; the host may refuse."""
    wanted = dict.fromkeys(("input", *names))
    for name in set(_granted) - set(wanted):
        if getattr(builtins, name, None) is _granted.pop(name):
            delattr(builtins, name)
    for name in wanted:
        if name not in _granted:
            kind = InputFunction if name == "input" else CapabilityFunction
            _granted[name] = kind(calls, name)
            setattr(builtins, name, _granted[name])
    getpass.getpass = _ask_secret  # it would read the terminal past a replaced `input`


def _ask_secret(prompt: str = "Password: ", stream: object = None) -> str:  # noqa: ARG001  # getpass's signature
    answer = granted_function("input")(prompt, secret=True)
    assert isinstance(answer, str)
    return answer
