"""The tasks that an engine runs, and what keeps their leases: the store itself, or heartbeats to one elsewhere.

Neither needs the loop, which a step may block for any time (specs/store.md, Leases; specs/http.md, Liveness). The SDK's
own heartbeat runs on the loop, and sends a request at the start of every task, which is a commit for each execution.
"""

from __future__ import annotations

from collections import Counter

from durable.store.port import StoreFace


class HeldTasks:
    """The SDK's Heartbeat protocol: the tasks of passes that have begun and not ended. Any thread may ask."""

    def __init__(self) -> None:
        self._versions: dict[str, int] = {}
        self._passes: Counter[str] = Counter()

    def start(self, task_id: str, task_version: int) -> None:
        """A pass of the task begins under its lease of that version."""
        self._versions[task_id] = max(task_version, self._versions.get(task_id, 0))
        self._passes[task_id] += 1

    def stop(self, task_id: str) -> None:
        """A pass of the task is over, or its lease is given back.

        After a lost lease an older pass may end beside the newer one, whose lease has to be kept all the same.
        """
        self._passes[task_id] -= 1
        if self._passes[task_id] <= 0:
            del self._passes[task_id]
            self._versions.pop(task_id, None)

    def shutdown(self) -> None:
        """Hold nothing any more."""
        self._versions.clear()
        self._passes.clear()

    def holds(self, task_id: str, version: int) -> bool:
        """Whether a pass runs under the task's lease of that version."""
        return self._versions.get(task_id) == version

    def runs(self, task_id: str) -> bool:
        """Whether a pass of the task runs here."""
        return task_id in self._versions

    def versions(self) -> dict[str, int]:
        """The version of the lease of each task that is held now."""
        return self._versions.copy()


def held_tasks(store: StoreFace, engine_id: str) -> HeldTasks:
    """The tasks that an engine runs, made known to its store, which keeps their leases."""
    held = HeldTasks()
    store.keep_leases(engine_id, held)
    return held
