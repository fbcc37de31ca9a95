"""When to kill what: drawn from a seed, spread over the events of the job."""

from __future__ import annotations

import random
from dataclasses import dataclass

from durable.demo.job import EVENTS, FIRST_CALL, LAST_CALL

KILLS_MAX = LAST_CALL - FIRST_CALL
DELAY_S_MAX = 0.08
"""A kill comes up to this long after its event: about as long as one event takes."""


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL `target` (worker or engine) `delay_s` after the event with this number (from 1)."""

    target: str
    event: int
    delay_s: float


def plan(seed: int, kills: int) -> list[Kill]:
    """Kills in the order of their events, no two at one event; with two or more, both targets are among them."""
    source = random.Random(seed)  # noqa: S311 - a plan that can be repeated, not a secret
    targets = ["worker", "engine"] + [source.choice(("worker", "engine")) for _ in range(kills)]
    source.shuffle(chosen := targets[:kills] if kills > 1 else [source.choice(targets)] * kills)
    inside = source.sample(range(FIRST_CALL, LAST_CALL + 1), chosen.count("worker"))
    free = [event for event in range(1, EVENTS + 1) if event not in inside]
    anywhere = source.sample(free, chosen.count("engine"))
    found = [("worker", event) for event in inside] + [("engine", event) for event in anywhere]
    return [
        Kill(target, event, source.uniform(0, DELAY_S_MAX)) for target, event in sorted(found, key=lambda each: each[1])
    ]
