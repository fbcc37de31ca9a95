"""Knowledge of an engine that needs no question to the database: leases that hold, pending promises (P3, P4)."""

from __future__ import annotations

from collections.abc import Callable

from durable.store.direct_store import PointReads
from durable.store.operations.leases import EngineLeases
from durable.store.operations.transaction import Effects
from durable.store.promise_standing import UNKNOWN, Standing
from durable.store.protocol.requests import Answer
from durable.store.writer import Job

BEGUN_MAX = 10_000

_MAKES = {"promise.create", "task.create", "cell.submit"}


class LocalKnowledge(PointReads):
    """Promises that this process made and has heard of no end of; leases that it surely holds."""

    def __init__(self, leases: EngineLeases, renewed: Callable[[], bool]) -> None:
        self._leases = leases
        self._renewed = renewed
        self._begun: dict[str, None] = {}

    def committed(self, jobs: list[Job], effects: Effects, *, foreign: bool) -> None:
        """Take in a commit; one of another engine may have settled anything."""
        if foreign:
            self._begun.clear()
            return
        for job in jobs:
            if job.kind in _MAKES and isinstance(job.outcome, Answer):
                promise = job.outcome.data["promise"]
                if isinstance(promise, dict) and promise["state"] == "pending":
                    self._begun[str(promise["id"])] = None
        for promise_id in (*effects.settled, *effects.internal):
            self._begun.pop(promise_id, None)
        if effects.stopped or len(self._begun) > BEGUN_MAX:
            self._begun.clear()

    def standing(self, promise_id: str) -> Standing:
        """Pending, where it is known to be. Whoever waits hears within a look of what was not heard of here."""
        return Standing(pending=True, may_be_held=False) if promise_id in self._begun else UNKNOWN

    def may_begin(self, task_id: str, version: int, child: str) -> bool:  # noqa: ARG002 - the version says it
        """Whether this process holds the task in that version, and surely still does: then nobody else can have made
        the child, and what the execution recorded before came with the lease."""
        return self._renewed() and self._leases.holds(task_id, version)
