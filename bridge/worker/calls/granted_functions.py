"""Granting capabilities: each becomes a function of user code, among its builtins (specs/session.md, Calls)."""

from __future__ import annotations

import builtins
import getpass
from collections.abc import Iterable

from bridge.worker.calls.calls import Calls
from bridge.worker.calls.capability_functions import (
    GRANTED,
    QUESTIONS,
    CapabilityFunction,
    Described,
    InputFunction,
    granted_function,
)
from bridge.worker.calls.prompt_functions import QuestionFunction


def grant(calls: Calls, given: Iterable[str | Described]) -> None:
    """Make exactly these capabilities functions of user code. `input` always is one; the host may refuse."""
    wanted: dict[str, Described | None] = {"input": None}
    for each in given:
        if isinstance(each, str):
            wanted[each] = None
        else:
            wanted[each["name"]] = each
    for name in set(GRANTED) - set(wanted):
        if getattr(builtins, name, None) is GRANTED.pop(name):
            delattr(builtins, name)
    for name, described in wanted.items():
        if name not in GRANTED:
            GRANTED[name] = _function(calls, name, described)
            setattr(builtins, name, GRANTED[name])
        elif described is not None and name != "input":
            GRANTED[name].describe(described)
    getpass.getpass = _ask_secret  # it would read the terminal past a replaced `input`


def _function(calls: Calls, name: str, described: Described | None) -> CapabilityFunction:
    """The function of a capability; questions to people, which are told by name alone, have their own."""
    if name == "input":
        return InputFunction(calls, name)
    if described is not None or name not in QUESTIONS:
        return CapabilityFunction(calls, name, described)
    return QuestionFunction(calls, name)


def _ask_secret(prompt: str = "Password: ", stream: object = None) -> str:  # noqa: ARG001  # getpass's signature
    answer = granted_function("input")(prompt, secret=True)
    assert isinstance(answer, str)
    return answer
