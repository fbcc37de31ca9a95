"""The fence: what the holder of a task's lease writes under it, for a store in this process."""

from __future__ import annotations

import asyncio
from typing import Any

from resonate.error import ServerError
from resonate_base import ConnectorError, ResonateError

from durable.core.errors import DurableError, StoreRefused
from durable.store.direct_store import DirectStore
from durable.store.protocol.requests import Answer, FencedCreate, FencedSettle, PromiseCreate, PromiseSettle, TaskFence

type Posted = asyncio.Future[Answer]
"""A request on its way to the writer; requests commit in the order in which they were posted."""


class Fence:
    """One lease: the task in the version in which it was acquired."""

    def __init__(self, store: DirectStore, task_id: str, version: int) -> None:
        self._store = store
        self._task_id = task_id
        self._version = version

    def may_begin(self, child: str) -> bool:
        """Whether the lease surely holds at this moment, and the promise `child` does not exist."""
        return self._store.glance.may_begin(self._task_id, self._version, child)

    def create(self, request: PromiseCreate, *, awaited: bool = True) -> Posted:
        """Post the creation of a child. Not `awaited`: nobody waits for it before the child is settled."""
        return self._post(FencedCreate(data=request), awaited=awaited)

    def settle(self, request: PromiseSettle) -> Posted:
        """Post the settlement of a child."""
        return self._post(FencedSettle(data=request))

    def _post(self, action: FencedCreate | FencedSettle, *, awaited: bool = True) -> Posted:
        request = TaskFence(id=self._task_id, version=self._version, action=action)
        return self._store.enqueue("task.fence", request, awaited=awaited)


async def fenced(posted: Posted) -> dict[str, Any]:
    """The child's promise as it is then. Raises ServerError when the lease is lost, and ConnectorError."""
    promise: dict[str, Any] = (await answered(posted)).data["action"]["data"]["promise"]
    return promise


async def answered(posted: Posted) -> Answer:
    """The answer, with the store's errors as the SDK's."""
    try:
        return await posted
    except DurableError as error:
        told = as_sdk_error(error)
        assert told is not None
        raise told from (None if isinstance(error, StoreRefused) else error)


def as_sdk_error(error: Exception) -> ResonateError | None:
    """An error of the store as the SDK has it; None for one that is none of the store's."""
    if isinstance(error, StoreRefused):
        return ServerError(error.status, error.message)
    return ConnectorError(error) if isinstance(error, DurableError) else None
