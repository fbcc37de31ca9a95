"""The data that a function works on beside its record: read before each pass, saved in the transaction that ends it.

Turns of actors have their actor's state so (specs/actors.md).
"""

from __future__ import annotations

from typing import Any, Protocol

from durable.store.port import StoreFace


class Activation(Protocol):
    """The data of one pass."""

    returns: Any
    """The annotation of the result, known once the turn was taken."""
    chain: list[str]
    """The actors that wait for this turn, and its own."""

    async def turn(self, context: Any, args: list[Any]) -> Any:
        """The function's code, on its own event loop: its result."""

    def saves(self) -> dict[str, Any] | None:
        """The fields of an `actor.fulfill` beside its task; None before the end."""


class Companion(Protocol):
    """Reads it."""

    async def activate(self, store: StoreFace, promise_id: str, tags: dict[str, str], *, begun: bool) -> Activation:
        """Read what the execution `promise_id` with these tags works on. begun: an earlier pass recorded something."""
