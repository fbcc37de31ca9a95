"""Schedules of every overlap policy under kills: `python -m tests.e2e.schedule_campaign [--postgres]`.

Two engines have four schedules that tick every half second, with executions of 0.1 to 1.3 s; engines are killed, both
of them at times. Of four others nobody is there for 200 ticks. What the store itself did is logged by triggers, in its
own transactions. From that log: every tick was dealt with once; with `skip` one was open at a time, and what was
skipped was skipped since one was open; with `queue` and `cancel` one had begun at a time, in the order of ticks; with
`queue` and `allow` all were done; what `cancel` cancelled had a later tick behind it; nothing is left open.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import durable
from durable.engine.schedule_operations import Overlap
from tests.e2e.campaign_store import CampaignStore, EngineProcesses, campaign_store, report
from tests.e2e.schedule_engine import PERIOD_MS, ticked

POLICIES: tuple[Overlap, ...] = ("allow", "skip", "queue", "cancel")
MISSED_TICKS, MISSED_PERIOD_MS = 200, 100
END_S = 300.0
"""For what is left when no tick fires any more."""
_OPEN = "SELECT 1 FROM promises WHERE state='pending' AND (id LIKE 'exec:every-%' OR id LIKE 'exec:missed-%') LIMIT 1"
_OURS = "(NEW.id LIKE 'exec:every-%' OR NEW.id LIKE 'exec:missed-%') AND NEW.id NOT LIKE '%.%'"
_ENTER = "INSERT INTO campaign (what, id, state) VALUES"
_TRIGGERS = [
    ("INSERT ON promises", _OURS, f"{_ENTER} ('made', NEW.id, NEW.state)"),
    (
        "UPDATE OF state ON promises",
        f"{_OURS} AND OLD.state='pending' AND NEW.state<>'pending'",
        f"{_ENTER} ('ended', NEW.id, NEW.state)",
    ),
    (
        "UPDATE OF state ON tasks",
        f"{_OURS} AND NEW.state='acquired' AND NEW.version=1",
        f"{_ENTER} ('begun', NEW.id, '')",
    ),
    ("UPDATE OF skipped ON schedules", "NEW.skipped>OLD.skipped", f"{_ENTER} ('skipped', NEW.id, '')"),
]


async def begin(store: CampaignStore, kind: str, period_ms: int) -> None:
    """Make schedules of each policy."""
    async with durable.open(store.place, serve=False, durability="process") as client:
        for policy in POLICIES:
            await client.schedule(f"{kind}-{policy}", period_ms / 1000, ticked, overlap=policy, missed="all")


async def pause(store: CampaignStore, kind: str) -> None:
    async with durable.open(store.place, serve=False, durability="process") as client:
        for policy in POLICIES:
            await client.schedules.pause(f"{kind}-{policy}")


async def work(
    store: CampaignStore, engines: EngineProcesses, seconds: float, kills: int, chance: random.Random
) -> None:
    """Let it tick, and kill engines now and then, every third time both."""
    await begin(store, "every", PERIOD_MS)
    for n in range(kills):
        await asyncio.sleep(seconds / (kills + 1))
        for _ in range(2 if n % 3 == 2 else 1):
            await engines.kill(chance.randrange(len(engines.running)))
        if not engines.running:
            await asyncio.sleep(2 * PERIOD_MS / 1000)
        while len(engines.running) < 2:
            await engines.start()
    await asyncio.sleep(seconds / (kills + 1))
    await pause(store, "every")


async def miss(store: CampaignStore, engines: EngineProcesses) -> None:
    """Nobody has the store open while the ticks pass; one of those who make up for them is killed."""
    while engines.running:
        await engines.kill(0)
    await begin(store, "missed", MISSED_PERIOD_MS)
    await asyncio.sleep(MISSED_TICKS * MISSED_PERIOD_MS / 1000)
    await asyncio.gather(engines.start(), engines.start())
    await engines.replace(0)
    await pause(store, "missed")


async def until_ended(store: CampaignStore) -> None:
    """All that was started has ended: nothing ticks any more."""
    until = time.monotonic() + END_S
    while store.look(_OPEN):
        assert time.monotonic() < until, "executions are left open"
        await asyncio.sleep(0.2)


def tick_of(promise_id: str) -> int:
    return int(promise_id.rpartition("-")[2])


def log_of(store: CampaignStore, name: str) -> list[tuple[Any, ...]]:
    where = f"id LIKE 'exec:{name}-%' OR id='{name}'"
    return store.look(f"SELECT what, id, state FROM campaign WHERE {where} ORDER BY seq")


def check_ticks(store: CampaignStore, name: str, period_ms: int) -> dict[str, int]:
    """Each tick was dealt with once, in order: those that made nothing were skipped."""
    log = log_of(store, name)
    made = [tick_of(id) for what, id, _ in log if what == "made"]
    skipped = sum(what == "skipped" for what, _, _ in log)
    assert made == sorted(set(made)), f"{name}: a tick was started twice, or out of order"
    [(next_at,)] = store.look(f"SELECT next_run_at FROM schedules WHERE id='{name}'")
    ticks = (next_at - made[0]) // period_ms  # the first tick makes one, whatever the policy
    assert len(made) + skipped == ticks, f"{name}: {len(made)} made and {skipped} skipped of {ticks} ticks"
    return {"ticks": ticks, "made": len(made), "skipped": skipped}


def check_policy(store: CampaignStore, name: str) -> dict[str, int]:
    """Replay the log of one schedule."""
    policy, most, newest = name.rpartition("-")[2], 0, ""
    opened, begun, order, states = set[str](), set[str](), list[str](), Counter[str]()
    rows = log_of(store, name)
    for n, (what, id, state) in enumerate(rows):
        match what:
            case "made":
                assert policy != "skip" or not opened, f"{id} was started while {opened} went on"
                opened.add(id)
                newest = id
            case "skipped":
                assert opened, "a tick was skipped although nothing went on"
            case "begun":
                begun.add(id)
                order.append(id)
                assert policy not in ("queue", "cancel") or len(begun) == 1, f"{begun} went on together"
            case "ended":
                assert state == "resolved" or (policy == "cancel" and state == "rejected_canceled"), (id, state)
                follows = next((each for each, _, ended in rows[n:] if ended != "rejected_canceled"), "")
                assert state == "resolved" or id != newest or follows == "made", f"{id} was cancelled for nothing"
                opened.discard(id)
                begun.discard(id)
                states[state] += 1
        most = max(most, len(opened))
    assert not opened
    assert policy not in ("queue", "cancel") or order == sorted(order, key=tick_of), f"{name}: one overtook another"
    return {**states, "most_open": most}


async def campaign(store: CampaignStore, seconds: float, kills: int, seed: int) -> dict[str, Any]:
    """The whole of it; what was found. AssertionError on a broken promise."""
    chance = random.Random(seed)
    async with durable.open(store.place, serve=False):
        store.log("campaign", "what TEXT, id TEXT, state TEXT", _TRIGGERS)
    engines = EngineProcesses(store.place, "tests.e2e.schedule_engine")
    try:
        await asyncio.gather(engines.start(), engines.start())
        await work(store, engines, seconds, kills, chance)
        await miss(store, engines)
        await until_ended(store)
    finally:
        while engines.running:
            await engines.kill(0)
    found: dict[str, Any] = {"seed": seed, "kills": kills}
    for kind, period_ms in (("every", PERIOD_MS), ("missed", MISSED_PERIOD_MS)):
        for policy in POLICIES:
            name = f"{kind}-{policy}"
            found[name] = {**check_ticks(store, name, period_ms), **check_policy(store, name)}
    assert all(found[f"missed-{policy}"]["ticks"] >= MISSED_TICKS for policy in POLICIES)
    assert not store.broken()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", action="store_true", help="on a database instead of a file")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long engines are killed")
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, campaign_store(Path(name), postgres=given.postgres) as store:
        report(campaign(store, given.seconds, given.kills, given.seed), given.seed)


if __name__ == "__main__":
    main()
