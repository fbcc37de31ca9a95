"""Whether an engine is alive: its lease in the database is not over (specs/postgres.md, Engines).

Takes the place of a file's record locks. Leases are given and judged by the server's clock alone.
"""

from __future__ import annotations

from durable.store.postgres.writer_connection import WriterConnection

NOW = "(extract(epoch from clock_timestamp()) * 1000)::bigint"


class DatabaseLiveness:
    """The leases of engines, read and written on the writer's connection, in its transaction where there is one."""

    def __init__(self, session: WriterConnection, holder: str, lease_ms: int) -> None:
        self._session = session
        self._holder = holder
        self.lease_ms = lease_ms
        self.own: frozenset[str] = frozenset()
        """Engines of this opening of the store; replaced whole, read by other threads."""
        self.living: frozenset[str] = frozenset()
        """Engines that were alive at the last beat; for the loop, which may not wait for the database."""

    def hold(self, engine: str) -> None:
        """Take a lease. OSError when somebody else's is not over."""
        taken = (
            f"INSERT INTO engine_leases (engine, holder, until) VALUES (?1, ?2, {NOW} + ?3)"
            f" ON CONFLICT (engine) DO UPDATE SET holder=?2, until={NOW} + ?3"
            f" WHERE engine_leases.holder=?2 OR engine_leases.until < {NOW} RETURNING 1"
        )
        if not self._session.rows(taken, (engine, self._holder, self.lease_ms)):
            raise OSError("its lease in the database is not over")
        self.own = self.own | {engine}
        self.living = self.living | {engine}

    def take_over(self, engine: str) -> None:
        """Hold the lease instead of the server that held it. That one finds out at its next beat."""
        self._session.send(
            f"UPDATE engine_leases SET holder=?2, until={NOW} + ?3 WHERE engine=?1",
            (engine, self._holder, self.lease_ms),
        )

    def release(self, engine: str) -> None:
        """End the lease of an engine of this process."""
        self._session.send("DELETE FROM engine_leases WHERE engine=? AND holder=?", (engine, self._holder))
        self.own = self.own - {engine}
        self.living = self.living - {engine}

    def forget(self, engine: str) -> None:
        """Remove a lease that is over."""
        self._session.send(f"DELETE FROM engine_leases WHERE engine=? AND until < {NOW}", (engine,))

    def held_here(self, engine: str) -> bool:
        return engine in self.own

    def alive(self, engine: str) -> bool:
        """Ask the database, within the transaction."""
        found = self._session.rows(f"SELECT until >= {NOW} FROM engine_leases WHERE engine=?", (engine,))
        return bool(found and found[0][0])
