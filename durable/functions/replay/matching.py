"""Where a replay finds its record: pure matching of what the code does now with what was recorded.

The SDK numbers children by position, which is sound for code that does one thing after another. Branches of a
TaskGroup or gather that share a context may reach their operations in another order when replayed, so there a recorded
operation is found by its name and digest, and position decides only among equal ones (specs/execution.md, J1).
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import NamedTuple

import msgspec

from durable.core.errors import NonDeterminism

ASKS = "permission"
"""The scope of questions that the host asks itself."""

ASKS_FROM = 1_000_000
"""They are numbered from here, so that the numbers of the code's own questions do not depend on them."""


class Made(NamedTuple):
    """The key of an operation: its kind (step, sleep, execute, input, call), its name, the digest of its arguments.

    `scope` is the context that made a call: a nested function that is finished is not run again, so its calls
    stay unmatched while those of other contexts are.
    """

    kind: str
    name: str
    digest: str
    scope: str = ""

    def shown(self) -> str:
        return f"{self.kind} {self.name!r} (arguments {self.digest[:8] or 'none'})"


class Sequence(msgspec.Struct):
    """The recorded operations of one context, or of one capability of an execution, by position from 1."""

    place: str
    recorded: dict[int, Made] = {}
    highest: int = 0
    concurrent: bool = False
    _equal: dict[Made, list[int]] = {}
    _within: dict[str, list[int]] = {}
    """Positions of equal operations, and of a scope's, as heaps: a long record is matched in linear time."""

    def add(self, position: int, made: Made) -> None:
        """Enter a recorded operation."""
        self.recorded[position] = made
        heappush(self._equal.setdefault(made, []), position)
        heappush(self._within.setdefault(made.scope, []), position)
        self.highest = max(self.highest, position)

    def skip(self, count: int) -> None:
        """Forget the first `count` positions: a checkpoint already holds their outcome."""
        for position in [p for p in self.recorded if p <= count]:
            del self.recorded[position]
        self.highest = max(self.highest, count)

    def take(self, made: Made) -> int:
        """The position of an operation that the code makes now; raises NonDeterminism (J2)."""
        position = self._lowest(self._equal.get(made))
        if not self.concurrent:
            lowest = self._lowest(self._within.get(made.scope))
            if position != lowest:
                raise NonDeterminism(f"{self.place}{lowest}", self.recorded[lowest].shown(), made.shown())
        if position:
            del self.recorded[position]
            return position
        self.highest += 1
        return self.highest

    def _lowest(self, positions: list[int] | None) -> int:
        """The lowest of these that is still unmatched; 0 when none is."""
        while positions and positions[0] not in self.recorded:
            heappop(positions)
        return positions[0] if positions else 0

    def taken(self) -> int:
        """How many positions from 1 on are taken without a gap."""
        return min(self.recorded, default=self.highest + 1) - 1

    def unmatched(self) -> tuple[int, Made] | None:
        """The lowest recorded operation that nothing matched, in code without concurrency."""
        if self.concurrent or not self.recorded:
            return None
        lowest = min(self.recorded)
        return lowest, self.recorded[lowest]


class Journal:
    """All sequences of one execution: children number per context, calls number per capability."""

    def __init__(self, execution: str) -> None:
        self.execution = execution
        self._sequences: dict[str, Sequence] = {}
        self._entered: set[str] = set()
        self._asks = Sequence(f"{execution}:input:", highest=ASKS_FROM, concurrent=True)

    def children(self, context: str) -> Sequence:
        """The children of the context whose promise is `context`, which is run in this pass."""
        self._entered.add(f"{context}.")
        return self._sequence(f"{context}.")

    def called(self) -> set[str]:
        """Capabilities of which calls are recorded that no replay has met yet."""
        start = f"{self.execution}:"
        return {p[len(start) : -1] for p, found in self._sequences.items() if p.startswith(start) and found.recorded}

    def asks(self) -> Sequence:
        """Questions of the host itself, whether code may do something. Found by what they are about alone (J3)."""
        return self._asks

    def calls(self, capability: str) -> Sequence:
        """The calls of one capability, whoever in this execution makes them."""
        return self._sequence(f"{self.execution}:{capability}:")

    def _sequence(self, prefix: str) -> Sequence:
        found = self._sequences.get(prefix)
        if found is None:
            found = self._sequences[prefix] = Sequence(prefix)
        return found

    def load(self, promise_id: str, tags: dict[str, str]) -> None:
        """Enter one recorded promise; ids that are not operations of this execution are passed over."""
        digest = tags.get("durable:digest")
        prefix, separator, last = _split(promise_id)
        if digest is None or not separator or not last.isdigit():
            return
        if "durable:concurrent" in tags:
            self._sequence(prefix + separator).concurrent = True
        made = Made(tags.get("durable:kind", ""), tags.get("durable:name", ""), digest, tags.get("durable:scope", ""))
        asks = made.scope == ASKS
        (self._asks if asks else self._sequence(prefix + separator)).add(int(last), made)

    def taken(self) -> dict[str, int]:
        """Calls made so far, per capability: what a checkpoint's position counts."""
        start = f"{self.execution}:"
        return {
            prefix[len(start) : -1]: sequence.taken()
            for prefix, sequence in self._sequences.items()
            if prefix.startswith(start) and sequence.taken()
        }

    def unmatched(self) -> tuple[str, Made] | None:
        """The first recorded child or question that sequential code left out, with its promise id."""
        for prefix in sorted(self._entered):
            left = self._sequence(prefix).unmatched()
            if left is not None:
                return f"{prefix}{left[0]}", left[1]
        for prefix, sequence in self._sequences.items():
            if prefix.startswith(f"{self.execution}:") and not sequence.concurrent:
                asked = [p for p, made in sequence.recorded.items() if f"exec:{made.scope}." in self._entered]
                if asked:
                    return f"{prefix}{min(asked)}", sequence.recorded[min(asked)]
        return None


def _split(promise_id: str) -> tuple[str, str, str]:
    cut = max(promise_id.rfind("."), promise_id.rfind(":"))
    if cut < 0:
        return promise_id, "", ""
    return promise_id[:cut], promise_id[cut], promise_id[cut + 1 :]
