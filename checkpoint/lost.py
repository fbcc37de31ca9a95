"""Names that a checkpoint could not bring back: remembered until they are assigned again, explained when used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from checkpoint.format import Lost


class LostNames:
    """The names that are missing from one namespace, with the reason. A worker has one (`LOST`)."""

    def __init__(self) -> None:
        self._names: dict[str, Lost] = {}

    def remember(self, lost: Iterable[Lost]) -> None:
        """Add names; a later entry of the same name replaces the earlier."""
        self._names.update((entry.name, entry) for entry in lost)

    def forget(self) -> None:
        """The namespace was cleared."""
        self._names.clear()

    def still(self, namespace: Mapping[str, object]) -> list[Lost]:
        """What is still missing; names that were assigned in the meantime are dropped for good."""
        for name in [name for name in self._names if name in namespace]:
            del self._names[name]
        return list(self._names.values())

    def explain(self, name: str) -> str | None:
        """Why a name is not there, as one sentence; None when it was never lost."""
        entry = self._names.get(name)
        if entry is None:
            return None
        made = f" (made by execution {entry.execution})" if entry.execution else ""
        return (
            f"{name!r} was lost when the session was restored from a checkpoint{made}: {entry.reason}. Make it again,"
            " or restore with recompute=True (`durable checkpoint restore SESSION WHICH --recompute`)."
        )


LOST = LostNames()
"""The registry of this process: a worker holds one namespace."""


def explain_name_error(name: str) -> str | None:
    """What to add to the NameError of a name in this worker's namespace, or None."""
    return LOST.explain(name)
