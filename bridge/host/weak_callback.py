"""Callbacks of an object to the parts that it has itself: so that it ends with its last user, and not with a cycle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakMethod


def weakly[**P, T](method: Callable[P, T]) -> Callable[P, T]:
    """A bound method that does not keep its object; ReferenceError when that is gone."""
    found: WeakMethod[Any] = WeakMethod(method)

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        target = found()
        if target is None:
            raise ReferenceError("the owner of this callback is gone")
        result: T = target(*args, **kwargs)
        return result

    return call
