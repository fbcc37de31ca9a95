"""Whether an engine is alive, as a transaction asks it; each kind of store knows it by other means."""

from __future__ import annotations

from typing import Protocol


class EngineLiveness(Protocol):
    """A file's engines hold record locks (`sqlite/engine_locks.py`), a database's renew leases (`postgres/`)."""

    def hold(self, engine: str) -> None:
        """Claim the name for this process. OSError when an engine of that name is alive elsewhere; FileExistsError
        when this process has it open already."""

    def release(self, engine: str) -> None:
        """Give up the name of an engine of this process."""

    def forget(self, engine: str) -> None:
        """Remove what a dead engine left."""

    def held_here(self, engine: str) -> bool:
        """Whether the engine is one of this process."""

    def alive(self, engine: str) -> bool:
        """Whether its process lives and has not left."""
