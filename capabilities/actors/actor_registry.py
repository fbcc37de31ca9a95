"""Which address an actor's id has (A38). One dict: its reads and writes are atomic in every Python that we run on."""

from __future__ import annotations

from capabilities.sandbox.errors import ComponentNotFound


class ActorRegistry[A]:
    """Addresses by id, shared by all that hold this object."""

    __slots__ = ("_addresses", "find")

    def __init__(self) -> None:
        self._addresses: dict[str, A] = {}
        self.find = self._addresses.get
        """The address, or None: the dict's own method, since a look costs less than a call of ours."""

    def register(self, id: str, address: A) -> A | None:
        """Enter an address, in place of one that was there, which is returned."""
        previous = self._addresses.get(id)
        self._addresses[id] = address
        return previous

    def lookup(self, id: str) -> A:
        """The address; ComponentNotFound."""
        try:
            return self._addresses[id]
        except KeyError:
            raise ComponentNotFound(
                f"there is no actor {id!r} here; it was never spawned, or has been stopped"
            ) from None

    def unregister(self, id: str) -> None:
        """Forget it; nothing happens when there is none."""
        self._addresses.pop(id, None)

    def ids(self) -> list[str]:
        """All ids, in order."""
        return sorted(self._addresses)

    def __len__(self) -> int:
        return len(self._addresses)
