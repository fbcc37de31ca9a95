"""The rule of one execution for when it is saved (specs/session.md, Checkpoint rule)."""

from __future__ import annotations

from collections.abc import Mapping
from types import CodeType, FunctionType

from bridge.protocol.messages import Wire


class Rule:
    """`mode` and `every_ns` are for the boundaries as they come; some statements need one before them or after them."""

    def __init__(self, request: Wire) -> None:
        self.mode: str = request["checkpoint"]
        every_s = request["checkpoint_every_s"]
        self.every_ns: int | None = None if every_s is None else int(every_s * 1e9)
        self._before = frozenset(request["checkpoint_before"])
        self.held = False
        """Whether nothing is saved at boundaries; what code asks for waits for the end."""
        self._asked = False
        self._label: str | None = None

    def ask(self, label: str | None) -> None:
        """Code wants to be saved at the next boundary."""
        if self.mode == "none":
            raise RuntimeError("this code runs with journal=False, so nothing of it is saved")
        self._asked, self._label = True, label or self._label

    def needs(self, code: CodeType, namespace: Mapping[str, object]) -> bool:
        """Whether the boundary before this statement is saved in any case."""
        if self.held or self.mode == "none":
            return False
        return self._asked or (bool(self._before) and reaches(code, namespace, self._before))

    def taken(self) -> Wire:
        """Take what code asked for, as done now; returns fields of the message."""
        label, self._asked, self._label = self._label, False, None
        return {} if label is None else {"label": label}


def reaches(code: CodeType, namespace: Mapping[str, object], names: frozenset[str]) -> bool:
    """Whether code names one of these, itself or in functions of the namespace that it names, and so on.

    What it gets at in other ways (a method, a function in a list) is not seen.
    """
    seen: set[CodeType] = set()
    left = [code]
    while left:
        found = left.pop()
        if found in seen:
            continue
        seen.add(found)
        if not names.isdisjoint(found.co_names):
            return True
        left += [const for const in found.co_consts if isinstance(const, CodeType)]
        values = [namespace.get(name) for name in found.co_names]
        left += [value.__code__ for value in values if isinstance(value, FunctionType)]
    return False
