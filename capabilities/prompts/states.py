"""States of a question to a person as a table (specs/prompt.md). No I/O."""

from __future__ import annotations

from enum import StrEnum

from durable.core.states import stepper


class PromptState(StrEnum):
    OPEN = "open"
    ANSWERED = "answered"
    DECLINED = "declined"
    EXPIRED = "expired"
    """Its deadline passed before an answer."""
    CANCELLED = "cancelled"
    """The execution that asked has ended, or took the question back."""
    REJECTED = "rejected"
    """Somebody settled its promise past the inbox, with an error."""


class PromptEvent(StrEnum):
    COUNT = "count"
    """An answer of one of several persons, which does not decide yet."""
    ANSWER = "answer"
    DECLINE = "decline"
    EXPIRE = "expire"
    CANCEL = "cancel"
    REJECT = "reject"


_S, _E = PromptState, PromptEvent

TRANSITIONS: dict[tuple[PromptState, PromptEvent], PromptState] = {
    (_S.OPEN, _E.COUNT): _S.OPEN,
    (_S.OPEN, _E.ANSWER): _S.ANSWERED,
    (_S.OPEN, _E.DECLINE): _S.DECLINED,
    (_S.OPEN, _E.EXPIRE): _S.EXPIRED,
    (_S.OPEN, _E.CANCEL): _S.CANCELLED,
    (_S.OPEN, _E.REJECT): _S.REJECTED,
}

step = stepper("a question", TRANSITIONS)

_SETTLED_BY = {"rejected": _E.REJECT, "rejected_canceled": _E.CANCEL, "rejected_timedout": _E.EXPIRE}


def state_of(promise: str, *, declined: bool = False) -> PromptState:
    """The state of a question whose promise is in this state. declined: what the settlement says that resolved it."""
    if promise == "pending":
        return _S.OPEN
    return step(_S.OPEN, _SETTLED_BY.get(promise, _E.DECLINE if declined else _E.ANSWER))


def promise_states_of(state: PromptState) -> list[str]:
    """The states of a promise whose question may be in this state."""
    return [found for found in ("pending", "resolved", *_SETTLED_BY) if state in _both(found)]


def _both(promise: str) -> set[PromptState]:
    return {state_of(promise), state_of(promise, declined=True)}
