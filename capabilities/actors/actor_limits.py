"""Limits of the actors of one engine (A53)."""

from __future__ import annotations

from dataclasses import dataclass

from capabilities.actors.errors import InvalidSupervision


@dataclass(frozen=True, slots=True)
class ActorLimits:
    """Limits of actors in memory. InvalidSupervision for a time of 0.

    spawn_timeout_s: of the start of one. shutdown_timeout_s: of the end of all of them, as the engine closes.
    actors_max: how many there may be, 0 for any number. metrics: whether each message is an event, too.
    """

    spawn_timeout_s: float = 5.0
    shutdown_timeout_s: float = 30.0
    actors_max: int = 0
    metrics: bool = False

    def __post_init__(self) -> None:
        if self.spawn_timeout_s <= 0 or self.shutdown_timeout_s <= 0:
            raise InvalidSupervision("the time of a start and of the end of all actors is more than 0 s")
        if self.actors_max < 0:
            raise InvalidSupervision(f"actors_max is a number of actors, or 0 for any, not {self.actors_max}")
