"""The future of the next change, which all share who wait: nobody takes it from the others."""

from __future__ import annotations

import asyncio

from durable.store.changes import Changes


async def test_a_waiter_that_is_cancelled_leaves_the_others_waiting() -> None:
    changes = Changes()

    async def waits() -> str:
        await changes.next()
        return "told"

    cancelled, stays = asyncio.ensure_future(waits()), asyncio.ensure_future(waits())
    shared = changes.next()
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    assert cancelled.cancelled()
    assert not shared.done()
    assert not stays.done()
    changes.tell()
    assert await stays == "told"
    assert shared.done()


async def test_a_waiter_that_has_no_more_time_leaves_the_others_waiting() -> None:
    changes = Changes()
    shared = changes.next()
    try:
        await asyncio.wait_for(shared, 0.001)
    except TimeoutError:
        pass
    assert not shared.done()
    assert (await asyncio.wait([shared], timeout=0.001))[0] == set()
    changes.tell()
    await shared
    await shared
    assert changes.next() is not shared


async def test_cancelled_by_hand_it_wakes_those_who_wait() -> None:
    changes = Changes()

    async def waits() -> None:
        await changes.next()

    waiting = asyncio.ensure_future(waits())
    await asyncio.sleep(0)
    changes.next().cancel()
    await asyncio.wait_for(waiting, 5)
