"""States of a session in the engine that owns it, as a table (specs/session.md). No I/O."""

from __future__ import annotations

from enum import StrEnum

from durable.core.states import stepper


class OwnerState(StrEnum):
    OWNED = "owned"
    """Its cells run here."""
    FORGOTTEN = "forgotten"
    """It is still this engine's, but nothing of it is held here: who comes takes it up anew."""
    LOST = "lost"
    """Another engine, or a close, has taken it: nothing that is done here counts any more."""
    CLOSED = "closed"
    """This engine ends what it has of it."""


class OwnerEvent(StrEnum):
    FORGET = "forget"
    LOSE = "lose"
    CLOSE = "close"


_S, _E = OwnerState, OwnerEvent

TRANSITIONS: dict[tuple[OwnerState, OwnerEvent], OwnerState] = {
    (_S.OWNED, _E.FORGET): _S.FORGOTTEN,
    (_S.OWNED, _E.LOSE): _S.LOST,
    (_S.OWNED, _E.CLOSE): _S.CLOSED,
    (_S.FORGOTTEN, _E.FORGET): _S.FORGOTTEN,
    (_S.FORGOTTEN, _E.LOSE): _S.FORGOTTEN,
    (_S.FORGOTTEN, _E.CLOSE): _S.FORGOTTEN,  # who waits for its turn is to learn that it can be taken up anew
    (_S.LOST, _E.FORGET): _S.FORGOTTEN,
    (_S.LOST, _E.LOSE): _S.LOST,
    (_S.LOST, _E.CLOSE): _S.CLOSED,
    (_S.CLOSED, _E.FORGET): _S.CLOSED,
    (_S.CLOSED, _E.LOSE): _S.CLOSED,
    (_S.CLOSED, _E.CLOSE): _S.CLOSED,
}

step = stepper("a session", TRANSITIONS)


class Ownership:
    """The state of one session, which all who do something with it look at."""

    def __init__(self) -> None:
        self.state = OwnerState.OWNED

    def go(self, event: OwnerEvent) -> None:
        self.state = step(self.state, event)

    @property
    def lost(self) -> bool:
        """Whether another engine has it, or may have."""
        return self.state is not OwnerState.OWNED

    @property
    def starts_workers(self) -> bool:
        """Whether a worker may be started for it. One that was lost may have one until it is closed."""
        return self.state in (OwnerState.OWNED, OwnerState.LOST)
