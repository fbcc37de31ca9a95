"""A cell as a transaction on the namespace (specs/namespace.md, T1-T5)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from bridge.protocol.messages import Wire
from bridge.worker.calls.capability_functions import granted
from bridge.worker.namespace.main_module import ENGINE_INTERNALS, Namespace
from bridge.worker.run.sigint_gate import Gate

if TYPE_CHECKING:
    from checkpoint.capture.savepoint import Savepoint

NAMES_MAX = 10_000
NAME_CHARS_MAX = 1_000
"""Of what was put back, in one report."""

KEPT_MAX = 100
"""Names that one report lists; what is left out is counted in the last."""


class Transaction:
    """Around one cell: `begin` before it, `end` after it, which says what was rolled back, or None.

    What the cell makes of the names in `recompute` stays, of those that are not there before it.
    """

    def __init__(self, policy: str, namespace: Namespace, gate: Gate, recompute: Iterable[str] = ()) -> None:
        self._policy = policy
        self._recompute = [name for name in recompute if name not in namespace and name not in ENGINE_INTERNALS]
        self._namespace = namespace
        self._gate = gate
        self._savepoint: Savepoint | None = None

    @property
    def active(self) -> bool:
        """The namespace may be put back: nothing in between is to be saved."""
        return self._policy != "commit_always"

    def begin(self) -> None:
        """Save the namespace, if it may be put back. SIGINT is kept meanwhile."""
        if not self.active:
            return
        from checkpoint.capture.savepoint import Savepoint  # only transactions pay for its import

        with self._gate.masked():
            self._savepoint = Savepoint(self._namespace, ENGINE_INTERNALS, granted())

    def end(self, *, failed: bool) -> Wire | None:
        """Put the namespace back where the policy says so."""
        savepoint, self._savepoint = self._savepoint, None
        if savepoint is None or not (failed or self._policy == "rollback_always"):
            return None
        with self._gate.masked():
            made = {name: self._namespace[name] for name in self._recompute if name in self._namespace}
            done = savepoint.roll_back()
            self._namespace.update(made)
        kept = [[name[:NAME_CHARS_MAX], why[:500]] for name, why in done.kept]
        told: Wire = {"restored": _names(done.restored), "kept": kept[:KEPT_MAX] + _more(kept)}
        return {**told, "recomputed": _names(made)} if self._recompute else told


def _names(names: Iterable[str]) -> list[str]:
    return [name[:NAME_CHARS_MAX] for name in islice(names, NAMES_MAX)]


def _more(kept: list[list[str]]) -> list[list[str]]:
    return [["…", f"and {len(kept) - KEPT_MAX} more"]] if len(kept) > KEPT_MAX else []
