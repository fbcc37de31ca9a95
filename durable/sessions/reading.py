"""Whether a session's worker is read: several reasons to pause it may hold at once."""

from __future__ import annotations

from bridge.session import WorkerSession


class Reading:
    """Paused while there is any reason; a new worker begins without."""

    def __init__(self) -> None:
        self._worker: WorkerSession | None = None
        self._reasons: set[str] = set()

    def pause(self, worker: WorkerSession | None, why: str) -> None:
        """Take nothing from the worker until `resume` with the same reason."""
        if worker is None:
            return
        if worker is not self._worker:
            self._worker, self._reasons = worker, set()
        self._reasons.add(why)
        worker.pause_reading()

    def resume(self, worker: WorkerSession | None, why: str) -> None:
        """The reason is gone; nothing when it did not hold."""
        if worker is None or worker is not self._worker:
            return
        self._reasons.discard(why)
        if not self._reasons:
            worker.resume_reading()
