"""`durable.Supervise`: what a turn that fails means for its actor, and what an actor that failed means for others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from capabilities.actors.backoff import Backoff, backoff_of
from capabilities.actors.errors import InvalidSupervision
from capabilities.actors.health import HealthChecks
from capabilities.actors.supervision import Strategy
from durable.core.errors import Fatal
from durable.functions.failures import raised

type Exhausted = Literal["stop", "drop", "escalate"]


def unsupervised(actor: str) -> str:
    """The reason why an actor without supervision has none under it (A37)."""
    return (
        f"{actor} supervises nothing: its class says no `supervise=durable.Supervise(…)`, which decides what becomes "
        "of an actor that it spawns"
    )


@dataclass(frozen=True, slots=True)
class Supervise:
    """How an actor is supervised.

    A turn that raises is taken again from the last saved state, after `backoff`, at most `max_restarts` times within
    `within` seconds, whatever messages they were for. Then `exhausted` decides: "stop" has the actor failed, its mail
    among the dead letters; "drop" has the message alone a dead letter, and the actor goes on; "escalate" is "stop", and
    the actor that spawned this one is told, whose `strategy` says which of its children are restarted.

    backoff: "exponential", "component", "jittered", "immediate", "linear", or a `durable.Backoff`. replies: classes of
    errors that are answers, and no failures, as `durable.Fatal` always is. health: how often `health` is asked, and
    after how many failures the actor is restarted as after an error. Raises InvalidSupervision.
    """

    max_restarts: int = 3
    within: float = 60.0
    backoff: str | Backoff = "exponential"
    exhausted: Exhausted = "stop"
    strategy: Strategy | Literal["one_for_one", "one_for_all", "rest_for_one"] = Strategy.ONE_FOR_ONE
    replies: tuple[type[BaseException], ...] = ()
    health: HealthChecks | None = None
    policy: Backoff = field(init=False)
    """`backoff` with these limits."""

    def __post_init__(self) -> None:
        if self.exhausted not in ("stop", "drop", "escalate"):
            raise InvalidSupervision(f"exhausted is 'stop', 'drop' or 'escalate', not {self.exhausted!r}")
        try:
            strategy = Strategy(self.strategy)
        except ValueError:
            words = ", ".join(repr(str(each)) for each in Strategy)
            raise InvalidSupervision(f"strategy is one of {words}, not {self.strategy!r}") from None
        replies = self.replies if isinstance(self.replies, tuple) else (self.replies,)
        if not all(isinstance(each, type) and issubclass(each, BaseException) for each in replies):
            raise InvalidSupervision(f"replies are classes of exceptions, not {self.replies!r}")
        if self.health is not None and not isinstance(self.health, HealthChecks):
            raise InvalidSupervision(f"health is durable.HealthChecks(every=…), not {self.health!r}")
        given = backoff_of(self.backoff)
        policy = Backoff(
            given.growth,
            given.base_s,
            given.factor,
            given.delay_max_s,
            given.jitter,
            self.max_restarts,
            self.within,
        )
        object.__setattr__(self, "strategy", strategy)
        object.__setattr__(self, "replies", replies)
        object.__setattr__(self, "policy", policy)

    def answers(self, error: BaseException) -> bool:
        """Whether an error is the answer to its message, and no failure of the actor."""
        return raised(error, Fatal, *self.replies)
