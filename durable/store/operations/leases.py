"""Leases that ran out: the holder of the engine's lock decides, not the clock (specs/store.md, Leases).

An engine may stand still for any time (a blocked loop, SIGSTOP, a clock that is set): its lock and its memory still say
what it runs. A lease that ran out is therefore a question to the engine's own process, asked by that process's writer.
"""

from __future__ import annotations

import asyncio
from typing import Literal, Protocol

from durable.core.limits import LEASE_ASK_MS
from durable.store.operations.liveness import EngineLiveness


class Held(Protocol):
    """An engine's account of what it runs at this moment. Asked on other threads than the engine's."""

    def holds(self, task_id: str, version: int) -> bool:
        """Whether it runs the task in that version."""

    def versions(self) -> dict[str, int]:
        """All that it runs, with their versions."""


type Verdict = Literal["held", "asked", "theirs", "over"]

_TURNS = 32
"""Turns of a loop after which whatever was answered to it has begun: an answer, its reader, and the pass after it."""

_ASKED_MAX = 10_000


class EngineLeases:
    """The engines of one open store that say what they run. `loop` is theirs. Used on the writer's thread."""

    def __init__(self, liveness: EngineLiveness, loop: asyncio.AbstractEventLoop) -> None:
        self._liveness = liveness
        self._loop = loop
        self._held: dict[str, Held] = {}
        self._asked: dict[tuple[str, int], bool] = {}

    def enter(self, engine: str, held: Held) -> None:
        """Ask this engine from now on. From the loop's thread."""
        self._held[engine] = held

    def holds(self, task_id: str, version: int) -> bool:
        """Whether an engine of this store runs the task in that version. From any thread."""
        return any(held.holds(task_id, version) for held in list(self._held.values()))

    def leave(self, engine: str) -> None:
        """Stop asking this engine: it has given back what it held."""
        self._held.pop(engine, None)

    def verdict(self, task_id: str, version: int, engine: str) -> Verdict:
        """Decide on a lease that ran out.

        `held`: the engine runs it. `asked`: the engine may be about to begin, so it is asked, and the lease goes on for
        LEASE_ASK_MS. `theirs`: the engine lives in another process, which decides. `over`: nobody runs it.
        """
        held = self._held.get(engine)
        if held is None:
            # An engine elsewhere, whose lock this process holds for it, is judged by its heartbeats alone.
            return "theirs" if self._liveness.alive(engine) and not self._liveness.held_here(engine) else "over"
        if self._loop.is_closed():
            return "over"
        key = (task_id, version)
        if held.holds(task_id, version):
            self._asked.pop(key, None)
            return "held"
        if len(self._asked) > _ASKED_MAX:
            self._asked.clear()  # of tasks that ended some other way; whoever is left is asked again
        answered = self._asked.get(key)
        if answered is None:
            self._asked[key] = False
            self._ask(key)
        if not answered:
            return "asked"
        del self._asked[key]
        return "over"

    def _ask(self, key: tuple[str, int]) -> None:
        """Find out when the loop has had its turns: the acquisition may be answered, and not yet be taken in by it."""

        def turn(left: int) -> None:
            if left:
                self._loop.call_soon(turn, left - 1)
            elif key in self._asked:
                self._asked[key] = True

        try:
            self._loop.call_soon_threadsafe(turn, _TURNS)
        except RuntimeError:
            self._asked[key] = True  # it was closed just now


def asked_for(ttl: int) -> int:
    """How long a lease goes on in ms while its engine is asked."""
    return min(ttl, LEASE_ASK_MS)
