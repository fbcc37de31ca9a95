"""A small model of supervision, and a campaign that compares the supervisor with it on random sequences of events.

    python -m tests.unit.supervision_model --sequences 100000 --seed 7

The model has no tables and keeps every restart for ever: it says what A54-A57 say, in the fewest words.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from capabilities.actors.backoff import Backoff
from capabilities.actors.supervision import (
    ChildSpec,
    RestartPolicy,
    Scheduled,
    Start,
    Stop,
    Strategy,
    Supervisor,
    Verdict,
    Wait,
)

EVENTS = ("fail", "exit", "started", "stopped", "stop", "start", "restart", "due", "reset", "stop_all", "start_all")


@dataclass
class Model:
    """Children in start order, each `up`, `starting`, `down`, `stopping`, `failed` or `waiting`."""

    strategy: str
    policies: dict[str, str]
    most: int
    within: float
    delay: Callable[[int], float]
    mode: str = "new"
    up: dict[str, str] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    hits: int = 0

    def __post_init__(self) -> None:
        self.up = dict.fromkeys(self.policies, "down")

    def event(self, what: str, child: str, now: float) -> list[tuple[object, ...]]:
        """The commands that follow."""
        return list(getattr(self, f"_{what}")(child, now))

    def _fail(self, child: str, now: float) -> list[tuple[object, ...]]:
        if self.up[child] not in ("up", "starting"):
            return []
        self.up[child] = "failed"
        return [] if self.policies[child] == "temporary" else self._again(child, now)

    def _exit(self, child: str, now: float) -> list[tuple[object, ...]]:
        if self.up[child] != "up":
            return []
        self.up[child] = "down"
        return self._again(child, now) if self.policies[child] == "permanent" else []

    def _restart(self, child: str, now: float) -> list[tuple[object, ...]]:
        return self._again(child, now)

    def _again(self, child: str, now: float) -> list[tuple[object, ...]]:
        if self.mode not in ("on", "soon"):
            return []
        recent = [each for each in self.times if now - each < self.within]
        if self.hits >= 5 or len(recent) >= self.most:
            self.hits += self.hits < 5
            self.mode, self.waiting = "gave up", []
            return [*self._down(reversed(self.up)), ("escalate",)]
        self.times.append(now)
        names = list(self.up)
        group = {"one_for_one": [child], "one_for_all": names, "rest_for_one": names[names.index(child) :]}[
            self.strategy
        ]
        for each in group:
            alive = self.up[each] in ("up", "starting", "waiting") and self.policies[each] != "temporary"
            if (each == child or alive) and each not in self.waiting:
                self.waiting.append(each)
        self.waiting.sort(key=names.index)
        stops = [("stop", each) for each in reversed(self.waiting) if self.up[each] in ("up", "starting")]
        for each in self.waiting:
            self.up[each] = "waiting"
        self.mode = "soon"
        return [*stops, ("wait", self.delay(len(recent)))]

    def _due(self, _child: str, _now: float) -> list[tuple[object, ...]]:
        if self.mode != "soon":
            return []
        self.mode, found, self.waiting = "on", self.waiting, []
        for each in found:
            self.up[each] = "starting"
        return [("start", each) for each in found]

    def _started(self, child: str, _now: float) -> list[tuple[object, ...]]:
        if self.up[child] == "starting":
            self.up[child] = "up"
        return []

    def _stopped(self, child: str, _now: float) -> list[tuple[object, ...]]:
        if self.up[child] == "stopping":
            self.up[child] = "down"
        return []

    def _stop(self, child: str, _now: float) -> list[tuple[object, ...]]:
        self.waiting = [each for each in self.waiting if each != child]
        return self._down([child])

    def _start(self, child: str, _now: float) -> list[tuple[object, ...]]:
        if self.up[child] not in ("down", "failed"):
            return []
        self.up[child] = "starting"
        return [("start", child)]

    def _stop_all(self, _child: str, _now: float) -> list[tuple[object, ...]]:
        if self.mode == "off":
            return []
        self.mode, self.waiting = "off", []
        return self._down(reversed(self.up))

    def _start_all(self, _child: str, now: float) -> list[tuple[object, ...]]:
        if self.mode not in ("new", "off"):
            return []
        self.mode = "on"
        return [command for each in self.up if self.up[each] == "down" for command in self._start(each, now)]

    def _reset(self, _child: str, _now: float) -> list[tuple[object, ...]]:
        self.times, self.hits = [], 0
        if self.mode == "gave up":
            self.mode = "on"
        return []

    def _down(self, names: object) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = []
        for each in names:  # type: ignore[attr-defined]
            if self.up[each] in ("up", "starting", "waiting"):
                self.up[each] = "stopping"
                found.append(("stop", each))
        return found


def told(supervisor: Supervisor, what: str, child: str, now: float) -> list[tuple[object, ...]]:
    """The supervisor's commands after the same event, in the model's words."""
    verdict: Verdict | None
    match what:
        case "fail":
            verdict, commands = supervisor.failed(child, now)
        case "exit":
            verdict, commands = supervisor.exited(child, now)
        case "restart":
            verdict, commands = supervisor.restart(child, now)
        case "due":
            verdict, commands = None, supervisor.restart_due()
        case "stop":
            verdict, commands = None, supervisor.stop(child)
        case "start":
            verdict, commands = None, supervisor.start(child)
        case "stop_all":
            verdict, commands = None, supervisor.stop_all()
        case "start_all":
            opens = supervisor.state in ("initializing", "stopped")
            verdict, commands = None, supervisor.start_all() if opens else []
        case _:
            getattr(supervisor, what)(*(() if what == "reset" else (child,)))
            verdict, commands = None, []
    found: list[tuple[object, ...]] = []
    for command in commands:
        match command:
            case Start(id):
                found.append(("start", id))
            case Stop(id):
                found.append(("stop", id))
            case Wait(seconds):
                assert isinstance(verdict, Scheduled)
                assert verdict.delay_s == seconds
                found.append(("wait", seconds))
            case _:
                found.append(("escalate",))
    return found


WORDS = {
    "up": "running",
    "starting": "starting",
    "down": "stopped",
    "stopping": "stopping",
    "failed": "failed",
    "waiting": "restarting",
}


def sequence(seed: int, length: int) -> None:
    """One random sequence of events; AssertionError says at which one the two differ, and the seed repeats it."""
    chance = random.Random(seed)
    backoff = Backoff(max_restarts=chance.randint(0, 4), within_s=chance.choice((1.0, 10.0)))
    strategy = chance.choice(list(Strategy))
    policies = {f"c{n}": chance.choice(list(RestartPolicy)) for n in range(chance.randint(1, 4))}
    supervisor = Supervisor("top", strategy, backoff)
    for id, policy in policies.items():
        supervisor.supervise(ChildSpec(id, restart=policy))
    model = Model(
        strategy, {id: str(policy) for id, policy in policies.items()}, backoff.max_restarts, backoff.within_s,
        backoff.delay_s,
    )  # fmt: skip
    now = 0.0
    weights = (6, 3, 8, 4, 1, 2, 1, 6, 1, 1, 2)
    for place in range(length):
        what = "start_all" if place == 0 else chance.choices(EVENTS, weights)[0]
        child = chance.choice(list(policies))
        now += chance.choice((0.0, 0.1, 1.0, 5.0))
        expected, found = model.event(what, child, now), told(supervisor, what, child, now)
        assert found == expected, f"seed {seed}, event {place} {what} {child}: {found}, the model {expected}"
        states = {id: str(each.state) for id, each in supervisor.children.items()}
        wanted = {id: WORDS[word] for id, word in model.up.items()}
        assert states == wanted, f"seed {seed}, event {place} {what} {child}: {states}, the model {wanted}"


def main() -> None:
    """Run the campaign; exits with the first difference."""
    parser = argparse.ArgumentParser(description="Compare supervision with its model.")
    parser.add_argument("--sequences", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=40)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    given = parser.parse_args()
    begin = time.monotonic()
    for n in range(given.sequences):
        sequence(given.seed + n, given.events)
    took = time.monotonic() - begin
    print(
        f"{given.sequences} sequences of {given.events} events without a difference in {took:.0f} s, seed {given.seed}"
    )


if __name__ == "__main__":
    main()
