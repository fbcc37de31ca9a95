"""States of a session's live namespace beside its newest checkpoint, as a table (specs/session.md). No I/O.

They decide whether the worker may be ended: what no checkpoint has would be gone.
"""

from __future__ import annotations

from enum import StrEnum

from durable.core.states import stepper


class NamespaceState(StrEnum):
    SAVED = "saved"
    """A restore brings back what is there."""
    UNSAVED = "unsaved"
    """Code ran since the newest checkpoint that no record would repeat, or a capture at a cell's end failed."""
    UNSAVEABLE = "unsaveable"
    """It holds what no checkpoint can."""


class NamespaceEvent(StrEnum):
    RUN = "run"
    """Unjournaled code runs, or a capture at a cell's end failed."""
    SAVE = "save"
    """A checkpoint has all of it."""
    SAVE_PARTLY = "save_partly"
    """A checkpoint has all but what none can."""


_S, _E = NamespaceState, NamespaceEvent

TRANSITIONS: dict[tuple[NamespaceState, NamespaceEvent], NamespaceState] = {
    (_S.SAVED, _E.RUN): _S.UNSAVED,
    (_S.UNSAVED, _E.RUN): _S.UNSAVED,
    (_S.UNSAVEABLE, _E.RUN): _S.UNSAVEABLE,
    **{(state, _E.SAVE): _S.SAVED for state in _S},
    **{(state, _E.SAVE_PARTLY): _S.UNSAVEABLE for state in _S},
}

step = stepper("a namespace", TRANSITIONS)
