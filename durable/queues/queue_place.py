"""The place of an execution in a queue, as `engine.enqueue` and `ctx.enqueue` take it (specs/queues.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from durable.core.durations import seconds
from durable.core.errors import BadArguments, Conflict, NotFound, StoreRefused
from durable.core.ids import QUEUE, QUEUE_DEDUPE, QUEUE_KEY, QUEUE_PRIORITY
from durable.core.limits import QUEUE_KEY_CHARS_MAX, QUEUE_PRIORITY_MAX
from durable.queues.queue import Queue, QueueLimits, check_queue_name

type Debounce = float | timedelta | tuple[float | timedelta, float | timedelta]
"""How long nobody must call again before an execution begins, and how long it may be put off at most."""


@dataclass(frozen=True, slots=True)
class Place:
    """The place of an execution in a queue, as `engine.enqueue` takes it, checked. BadArguments."""

    key: str = ""
    priority: int = 0
    delay: float | timedelta | None = None
    dedupe: str | None = None
    debounce: Debounce | None = None

    def __post_init__(self) -> None:
        for name, text in (("key", self.key), ("dedupe", self.dedupe or "")):
            if not isinstance(text, str) or len(text) > QUEUE_KEY_CHARS_MAX:
                raise BadArguments(f"{name} is text of at most {QUEUE_KEY_CHARS_MAX} characters, not {text!r}")
        if type(self.priority) is not int or abs(self.priority) > QUEUE_PRIORITY_MAX:
            raise BadArguments(
                f"priority is a whole number from -{QUEUE_PRIORITY_MAX} to {QUEUE_PRIORITY_MAX}, not {self.priority!r}"
            )
        if self.debounce is not None and self.dedupe is None:
            raise BadArguments("debounce= needs dedupe=, which says what calls are taken for one")

    def request(self) -> dict[str, Any]:
        """The fields of the store's request."""
        found: dict[str, Any] = {"key": self.key, "priority": self.priority, "delay_ms": _ms(self.delay)}
        if self.dedupe is not None:
            found["dedupe"] = self.dedupe
        if isinstance(self.debounce, tuple):
            if len(self.debounce) != 2:
                raise BadArguments(f"debounce is seconds, or (seconds, at most), not {self.debounce!r}")
            found |= {"debounce_ms": max(1, _ms(self.debounce[0])), "debounce_max_ms": max(1, _ms(self.debounce[1]))}
        elif self.debounce is not None:
            found["debounce_ms"] = max(1, _ms(self.debounce))
        return found

    def tags(self, queue: str) -> dict[str, str]:
        """The tags of the execution's promise."""
        found = {QUEUE: queue}
        if self.key:
            found[QUEUE_KEY] = self.key
        if self.priority:
            found[QUEUE_PRIORITY] = str(self.priority)
        if self.dedupe is not None and self.debounce is None:
            found[QUEUE_DEDUPE] = self.dedupe
        return found


def _ms(given: float | timedelta | None) -> int:
    found = seconds(given)
    if found is None:
        return 0
    return round(found * 1000)


def name_of(queue: Queue | str) -> str:
    """The name of a queue. BadArguments."""
    return queue.name if isinstance(queue, Queue) else check_queue_name(queue)


def wire_limits(limits: QueueLimits) -> dict[str, Any]:
    """Limits as the store takes them: the rate's time in milliseconds."""
    rate = None if limits.rate is None else [limits.rate[0], limits.rate_ms]
    return {**limits.to_json(), "rate": rate}


def enqueue_request(queue: str, place: Place, promise: Mapping[str, Any]) -> dict[str, Any]:
    """The store's request for an execution whose promise is `promise`."""
    return {"queue": queue, "promise": promise, **place.request()}


NONE_YET = "`durable queue list` shows what there is; `durable queue set` or `enqueue` with a durable.Queue makes one"


def queue_error(refused: StoreRefused, queue: str) -> Exception:
    """The refusal of the store, as an error of ours."""
    if refused.status == 404:
        return NotFound("queue", queue, NONE_YET)
    if refused.status == 409:
        return Conflict(refused.message)
    return BadArguments(refused.message) if refused.status == 400 else refused
