"""A session changes its owner: this engine takes it from one that gave it back, or that is dead (specs/session.md, O2).

The store refuses it while the owner lives, and raises the session's epoch (`store/operations/sessions.py`): whatever an
earlier owner still writes is refused from then on. A worker that it left behind is ended before anything is restored.
"""

from __future__ import annotations

from durable.sessions.ownership.left_worker import end_worker
from durable.store.port import StoreFace


async def take_over(store: StoreFace, session: str, engine: str) -> int:
    """Become the owner; the session's new epoch. StoreRefused (409) while another engine that lives is."""
    taken = (await store.request("session.take", {"session": session, "engine": engine})).data
    left = taken.get("previous_worker")
    if left is not None:
        await end_worker(int(left["pid"]), int(left["start"]))
    return int(taken["epoch"])
