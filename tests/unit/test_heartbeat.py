"""Leases are kept as long as a pass needs them, also when an older pass of the same task ends beside it."""

from __future__ import annotations

import asyncio

from resonate.send import TaskRef

from durable.functions.heartbeat import LeaseHeartbeat


class Sent:
    """Stands for the store: what each beat asked it to renew."""

    def __init__(self) -> None:
        self.beats: asyncio.Queue[list[tuple[str, int]]] = asyncio.Queue()

    async def task_heartbeat(self, pid: str, tasks: list[TaskRef]) -> None:
        self.beats.put_nowait([(task.id, task.version) for task in tasks])


async def test_an_older_pass_that_ends_leaves_the_lease_of_the_newer() -> None:
    sent = Sent()
    heartbeat = LeaseHeartbeat("engine", 1, sent)
    heartbeat.start("exec:f", 1)
    heartbeat.start("exec:f", 2)
    heartbeat.start("exec:g", 1)
    heartbeat.stop("exec:f")
    assert await asyncio.wait_for(sent.beats.get(), 10) == [("exec:f", 2), ("exec:g", 1)]
    heartbeat.stop("exec:f")
    while await asyncio.wait_for(sent.beats.get(), 10) != [("exec:g", 1)]:
        pass
    heartbeat.shutdown()


async def test_a_task_that_is_held_again_after_its_end_is_renewed_in_its_new_version() -> None:
    sent = Sent()
    heartbeat = LeaseHeartbeat("engine", 1, sent)
    heartbeat.start("exec:f", 1)
    heartbeat.stop("exec:f")
    heartbeat.start("exec:f", 2)
    assert await asyncio.wait_for(sent.beats.get(), 10) == [("exec:f", 2)]
    heartbeat.shutdown()
