"""A write transaction of a database: the operations' statements, under locks by key (specs/postgres.md, Locks)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import ClassVar

from durable.store.operations.leases import EngineLeases
from durable.store.operations.liveness import EngineLiveness
from durable.store.operations.lock_keys import WHOLE, promise_key, session_key
from durable.store.operations.records import Row
from durable.store.operations.transaction import EngineServes, MessageEnd, Tx
from durable.store.postgres.dialect import given
from durable.store.postgres.session import Session

_PAGE = 500


@lru_cache(16_384)
def lock_number(schema: str, key: str) -> int:
    """The number that a key's advisory lock has: two keys that share one wait for each other, which harms nobody."""
    digest = blake2b(f"{schema}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def store_lock(schema: str) -> int:
    """The number of the lock that every transaction of a store holds, shared or alone."""
    return lock_number(schema, WHOLE)


class HeldElsewhere(Exception):
    """Another transaction holds a key that this one needs: it is rolled back, and tried again with the key from the
    beginning, when locks are taken in order. So nobody waits for a lock while holding another."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class PostgresTx(Tx):
    """Runs statements in the pipeline of the session."""

    __slots__ = ("_held", "_schema", "_session", "_whole")

    SKIP_LOCKED: ClassVar[str] = " FOR UPDATE SKIP LOCKED"

    def __init__(
        self,
        session: Session,
        schema: str,
        held: set[str],
        now: int,
        ends: dict[str, MessageEnd],
        served: dict[str, EngineServes],
        liveness: EngineLiveness,
        leases: EngineLeases,
        *,
        whole: bool,
        debug: bool = False,
    ) -> None:
        super().__init__(now, ends, served, liveness, leases, debug=debug)
        self._session = session
        self._schema = schema
        self._held = held
        self._whole = whole

    def execute(self, sql: str, parameters: tuple[object, ...] = ()) -> None:
        self._session.send(sql, parameters)

    def execute_many(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._session.send_many(sql, list(rows))

    def row(self, sql: str, parameters: tuple[object, ...] = ()) -> Row | None:
        found = self._session.send(sql, parameters).fetchone()
        return None if found is None else given(found)

    def rows(self, sql: str, parameters: tuple[object, ...] = ()) -> list[Row]:
        return self._session.rows(sql, parameters)

    def each(self, sql: str, parameters: tuple[object, ...] = ()) -> Iterator[Row]:
        offset = 0
        while True:
            page = self.rows(f"{sql} LIMIT {_PAGE} OFFSET {offset}", parameters)
            yield from page
            if len(page) < _PAGE:
                return
            offset += _PAGE

    def lock(self, key: str) -> None:
        if not self._lock_if_free(key):
            raise HeldElsewhere(key)

    def lock_promise(self, promise_id: str) -> None:
        self.lock(promise_key(promise_id))

    def lock_session(self, session: str) -> None:
        self.lock(session_key(session))

    def lock_promise_if_free(self, promise_id: str) -> bool:
        return self._lock_if_free(promise_key(promise_id))

    def _lock_if_free(self, key: str) -> bool:
        if self._whole or key in self._held:
            return True
        found = self.row("SELECT pg_try_advisory_xact_lock(?)", (lock_number(self._schema, key),))
        if found != (True,):
            return False
        self._held.add(key)
        return True

    def claim(self, task_id: str, due: int) -> bool:
        claimed = "SELECT 1 FROM tasks WHERE id=? AND state='pending' AND due=? FOR UPDATE SKIP LOCKED"
        return self.row(claimed, (task_id, due)) is not None
