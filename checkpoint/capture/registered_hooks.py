"""Calls that give a function of the user's to the interpreter, which does not tell what it has (worker side)."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

type Call = tuple[str, str, tuple[Any, ...], dict[str, Any]]
"""Module, name of the function in it, arguments."""

_FUNCTIONS = ((codecs, "register"), (codecs, "register_error"), (os, "register_at_fork"), (sys, "addaudithook"))


def is_users(function: Any) -> bool:
    """Whether a function, or what it is bound to, comes from the session."""
    if type(function).__module__ == "__main__":
        return True
    inner = getattr(function, "func", function)
    inner = getattr(inner, "__func__", inner)
    return getattr(inner, "__module__", None) == "__main__"


_aside = [False]


@contextmanager
def aside() -> Iterator[None]:
    """A fork for a capture: functions of the user's are not called, since what they change would be saved."""
    _aside[0] = True
    try:
        yield
    finally:
        _aside[0] = False


def _outside(function: Any) -> Any:
    if not callable(function):
        return function

    @wraps(function, updated=())
    def called() -> object:
        return None if _aside[0] else function()

    return called


class RecordedHooks:
    """The calls that this process made."""

    def __init__(self) -> None:
        self.made: list[Call] = []

    def begin(self) -> None:
        """From here they are recorded."""
        for module, name in _FUNCTIONS:
            setattr(module, name, self._recording(module.__name__, name, getattr(module, name)))
        unregister = codecs.unregister

        @wraps(unregister)
        def unregistered(search_function: Any, /) -> None:
            unregister(search_function)
            self.made[:] = [call for call in self.made if call[1] != "register" or call[2][0] != search_function]

        codecs.unregister = unregistered

    def repeat(self, calls: Iterable[Call]) -> None:
        """Make them in this process, where they were not made yet."""
        for module, name, args, kwargs in calls:
            if (module, name, args, kwargs) not in self.made:
                getattr(sys.modules[module], name)(*args, **kwargs)

    def _recording(self, module: str, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(plain)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            given = kwargs
            if name == "register_at_fork":
                given = {when: _outside(function) for when, function in kwargs.items()}
            returned = plain(*args, **given)
            if any(is_users(value) for value in (*args, *kwargs.values())):
                self.made.append((module, name, args, kwargs))
            return returned

        return recorded
