"""`durable.checkpoint(label)`: code of a session asks to be saved (specs/checkpoint.md, When). The worker listens."""

from __future__ import annotations

from collections.abc import Callable

LABEL_CHARS_MAX = 200

type Ask = Callable[[str | None], None]

_ask: Ask | None = None


def listen(ask: Ask | None) -> None:
    """Set who is asked from now on: the execution that runs in this worker, or nobody."""
    global _ask
    _ask = ask


def checkpoint(label: str | None = None) -> None:
    """Save the session when the statement that calls this has ended, or the iteration of its `durable.resumable` loop.

    label: text by which the checkpoint is found and kept, as one of the newest 100 that code labelled. In the middle of
    a statement there is no place to go on from, so that is as soon as it can be.

    RuntimeError outside a session, and in code that runs with journal=False.
    """
    if label is not None and (not isinstance(label, str) or not 0 < len(label) <= LABEL_CHARS_MAX):
        raise ValueError(f"a label is a text of 1 to {LABEL_CHARS_MAX} characters")
    if _ask is None:
        raise RuntimeError("durable.checkpoint() saves a session: there is none here; call it in code of a cell")
    _ask(label)
