"""Queued executions of three keys of very different load, two engines, kills: `python -m tests.e2e.queue_campaign`.

With --postgres on a database. What the store itself did is logged by triggers, in its own transactions: who was given
a place, who gave it back, which engine acquired and lost what. From that log: no limit was ever exceeded, keys had the
same share while entries of each waited, the rate was kept and used, nothing was lost and nothing was done twice.
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
from tests.e2e.campaign_store import CampaignStore, EngineProcesses, campaign_store, report
from tests.e2e.queue_engine import queued

CONCURRENCY, PER_ENGINE, PER_KEY = 24, 16, 10
KEYS = {"heavy": 0.80, "middle": 0.15, "light": 0.05}
RATE, RATE_POSTGRES = (25, 1.0), (40, 4.0)
"""What the clock lets begin: on a database so much that one engine keeps up on a small machine while another starts."""
_COLUMNS = "what TEXT, id TEXT, queue TEXT, key TEXT, engine TEXT, at INTEGER"
_ADMITTED = (
    "INSERT INTO campaign (what, id, queue, key, at) VALUES ('admit', NEW.id, NEW.queue, NEW.key, NEW.admitted_at)"
)
_TRIGGERS = [
    ("INSERT ON queue_entries", "NEW.state='admitted'", _ADMITTED),
    ("UPDATE OF state ON queue_entries", "NEW.state='admitted'", _ADMITTED),
    (
        "DELETE ON queue_entries",
        "OLD.state='admitted'",
        "INSERT INTO campaign (what, id, queue, key) VALUES ('end', OLD.id, OLD.queue, OLD.key)",
    ),
    (
        "UPDATE OF state ON tasks",
        "NEW.queue IS NOT NULL AND NEW.state='acquired' AND OLD.state<>'acquired'",
        "INSERT INTO campaign (what, id, queue, engine) VALUES ('acquire', NEW.id, NEW.queue, NEW.pid)",
    ),
    (
        "UPDATE OF state ON tasks",
        "NEW.queue IS NOT NULL AND OLD.state='acquired' AND NEW.state<>'acquired'",
        "INSERT INTO campaign (what, id, queue, engine) VALUES ('lose', NEW.id, NEW.queue, OLD.pid)",
    ),
]


async def fill(store: CampaignStore, executions: int, chance: random.Random) -> dict[str, list[str]]:
    """Enqueue everything while the queue is paused, in a random order of keys: the ids by key."""
    async with durable.open(store.place, serve=False, durability="process") as client:
        queue = durable.Queue("load", concurrency=CONCURRENCY, per_engine=PER_ENGINE, per_key=PER_KEY)
        await client.queues.declare(queue)
        await client.queues.pause(queue)
        keys = [key for key, share in KEYS.items() for _ in range(round(executions * share))]
        chance.shuffle(keys)
        ids: dict[str, list[str]] = {key: [] for key in KEYS}
        for start in range(0, len(keys), 500):
            batch = [
                client.enqueue(queue, queued, start + n, key=key, id=f"load-{start + n}")
                for n, key in enumerate(keys[start : start + 500])
            ]
            for key, execution in zip(keys[start : start + 500], await asyncio.gather(*batch), strict=True):
                ids[key].append(execution.id)
        store.log("campaign", _COLUMNS, _TRIGGERS)
    return ids


async def resume(store: CampaignStore) -> None:
    """Let the first queue begin: both engines are there."""
    async with durable.open(store.place, serve=False, durability="process") as client:
        await client.queues.resume("load")


async def until_ended(
    store: CampaignStore, engines: EngineProcesses, queue: str, kills: int, total: int, chance: random.Random
) -> None:
    """Kill engines, evenly over the work, until the queue is empty."""
    done = 0
    while True:
        [(ended,)] = store.look(f"SELECT count(*) FROM campaign WHERE what='end' AND queue='{queue}'")
        if ended >= total:
            return
        if done < kills and ended >= total * (done + 1) // (kills + 1):
            done += 1
            await engines.replace(chance.randrange(2))
        await asyncio.sleep(0.05)


def check_limits(store: CampaignStore, queue: str, limits: tuple[int, int, int]) -> dict[str, int]:
    """Replay the log: the most that ever held a place, of all, of a key, and on an engine."""
    concurrency, per_key, per_engine = limits
    running, keys, engines, most = 0, Counter[str](), Counter[str](), Counter[str]()
    for what, key, engine in store.look(f"SELECT what, key, engine FROM campaign WHERE queue='{queue}' ORDER BY seq"):
        match what:
            case "admit":
                running, keys[key] = running + 1, keys[key] + 1
            case "end":
                running, keys[key] = running - 1, keys[key] - 1
            case "acquire":
                engines[engine] += 1
            case "lose":
                engines[engine] -= 1
        assert running <= concurrency
        assert keys[key] <= per_key or not key
        assert engines[engine] <= per_engine or not engine
        most["queue"] = max(most["queue"], running)
        most["key"] = max(most["key"], keys[key])
        most["engine"] = max(most["engine"], engines[engine])
    assert running == 0
    assert not any(engines.values())
    return dict(most)


def check_fairness(store: CampaignStore, ids: dict[str, list[str]]) -> float:
    """While entries of each key wait, each gets the same share: the largest deviation from a third."""
    light = len(ids["light"])
    keys = [row[0] for row in store.look("SELECT key FROM campaign WHERE what='admit' AND queue='load' ORDER BY seq")]
    seen, shares = Counter[str](), Counter[str]()
    for key in keys:
        if seen["light"] == light:
            break
        seen[key] += 1
        shares[key] += 1
    total = sum(shares.values())
    return max(abs(shares[key] / total * len(KEYS) - 1) for key in KEYS)


def check_effects(store: CampaignStore, log: Path, executions: int, kills: int) -> dict[str, int]:
    """Everything was done; nothing that is recorded was done twice; only what a kill cut was begun again."""
    ended = store.look(
        "SELECT state, count(*) FROM promises WHERE id LIKE 'exec:load-%' AND id NOT LIKE '%.%' GROUP BY 1"
    )
    assert ended == [("resolved", executions)], ended
    runs = Counter(line for line in log.read_text().split() if not line.startswith("-"))
    assert len(runs) == executions, "an execution that ended had no effect"
    again = sum(runs.values()) - executions
    assert again <= kills * PER_ENGINE, f"{again} effects were repeated by {kills} kills"
    admitted = Counter(row[0] for row in store.look("SELECT id FROM campaign WHERE what='admit' AND queue='load'"))
    assert set(admitted.values()) == {1}, "a place was given twice to the same execution"
    return {"repeated_by_kills": again}


async def rated(store: CampaignStore, engines: EngineProcesses, seconds: int, chance: random.Random) -> float:
    """A queue with a rate, saturated, with kills: how far its starts are from what the rate allows.

    The starts are the times from which the store lets an execution begin (specs/queues.md, Q6).
    """
    count, per_s = RATE if store.is_file else RATE_POSTGRES
    total = count * max(
        2, round(seconds / per_s)
    )  # whole times of the rate: all that may begin then begin at its start
    async with durable.open(store.place, serve=False, durability="process") as client:
        queue = durable.Queue("rated", rate=(count, per_s))
        await asyncio.gather(*(client.enqueue(queue, queued, -n, id=f"rated-{n}") for n in range(1, total + 1)))
    await until_ended(store, engines, "rated", 2, total, chance)
    starts = [row[0] for row in store.look("SELECT at FROM campaign WHERE what='admit' AND queue='rated' ORDER BY seq")]
    for first, over in zip(starts, starts[count:], strict=False):
        assert over - first >= per_s * 1_000, "more began within the time of the rate than it allows"
    allowed_s = (total - count) / count * per_s
    return ((starts[-1] - starts[0]) / 1000 - allowed_s) / allowed_s


async def campaign(
    folder: Path, store: CampaignStore, executions: int, kills: int, seconds: int, seed: int
) -> dict[str, Any]:
    """The whole of it; what was found. AssertionError on a broken promise."""
    chance = random.Random(seed)
    log = folder / "effects"
    began = time.monotonic()
    ids = await fill(store, executions, chance)
    filled = time.monotonic()
    total = sum(map(len, ids.values()))
    engines = EngineProcesses(store.place, "tests.e2e.queue_engine", QUEUE_CAMPAIGN_LOG=str(log))
    try:
        await engines.start()
        await engines.start()
        began_s = time.monotonic()
        await resume(store)
        await until_ended(store, engines, "load", kills, total, chance)
        worked = time.monotonic()
        rate_error = await rated(store, engines, seconds, chance)
    finally:
        while engines.running:
            await engines.kill(0)
    fairness = check_fairness(store, ids)
    assert fairness <= 0.10, f"a key had {fairness:.0%} more or less than its share"
    assert not store.broken()
    found = {
        "executions": total,
        "kills": kills + 2,
        "seed": seed,
        "most": check_limits(store, "load", (CONCURRENCY, PER_KEY, PER_ENGINE)),
        "fairness_deviation": round(fairness, 4),
        "rate_deviation": round(rate_error, 4),
        "enqueue_per_s": round(total / (filled - began)),
        "executions_per_s": round(total / (worked - began_s)),
    }
    found |= check_effects(store, log, total, kills)
    # Last, since it is the only one that a busy machine can break.
    assert abs(rate_error) <= 0.01, f"the rate was missed by {rate_error:.1%}: {found}"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rate-seconds", type=int, default=30, help="how long the queue with a rate is kept busy")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--postgres", action="store_true", help="on a database instead of a file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, campaign_store(Path(name), postgres=given.postgres) as store:
        work = campaign(Path(name), store, given.executions, given.kills, given.rate_seconds, given.seed)
        report(work, given.seed)


if __name__ == "__main__":
    main()
