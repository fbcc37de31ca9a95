"""A queue as code declares it: its name and its limits, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from durable.core.errors import BadArguments
from durable.core.limits import QUEUE_NAME_CHARS_MAX, QUEUE_RATE_MAX, QUEUE_RATE_S_MAX

_NAME = re.compile(rf"[A-Za-z0-9_.-]{{1,{QUEUE_NAME_CHARS_MAX}}}\Z")


def check_queue_name(name: object) -> str:
    """The name, if a queue can have it. BadArguments."""
    if not isinstance(name, str) or not _NAME.match(name):
        raise BadArguments(
            f"the queue name {name!r} is not 1 to {QUEUE_NAME_CHARS_MAX} letters, digits, `_`, `.` and `-`"
        )
    return name


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """The limits of a queue; None where there is none.

    concurrency: executions that have begun and not ended. per_engine: those that one engine runs. per_key: as
    `concurrency`, of one key. rate: (count, seconds): at most so many begin within any so many seconds.
    """

    concurrency: int | None = None
    per_engine: int | None = None
    per_key: int | None = None
    rate: tuple[int, float] | None = None

    def __post_init__(self) -> None:
        for name in ("concurrency", "per_engine", "per_key"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or not 1 <= value < 2**31):
                raise BadArguments(f"{name} of a queue is a whole number from 1, or None for no limit, not {value!r}")
        if self.rate is not None:
            object.__setattr__(self, "rate", _checked_rate(self.rate))

    @property
    def rate_ms(self) -> int | None:
        """The time of the rate in milliseconds."""
        return None if self.rate is None else round(self.rate[1] * 1000)

    def to_json(self) -> dict[str, Any]:
        """The limits by name, None where there is none."""
        found = asdict(self)
        found["rate"] = None if self.rate is None else list(self.rate)
        return found

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """From what `to_json` gives. BadArguments for what is no limit."""
        unknown = sorted(set(given) - {field.name for field in fields(cls)})
        if unknown:
            raise BadArguments(f"a queue has no limit {unknown[0]!r}: there are concurrency, per_engine, per_key, rate")
        return cls(**given)


def _checked_rate(rate: object) -> tuple[int, float]:
    wrong = BadArguments(
        f"the rate of a queue is (count, seconds), such as (100, 60), with a count from 1 to {QUEUE_RATE_MAX} and "
        f"seconds from 0.001 to {QUEUE_RATE_S_MAX}, not {rate!r}"
    )
    if not isinstance(rate, tuple | list) or len(rate) != 2:
        raise wrong
    count, seconds = rate
    if type(count) is not int or isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise wrong
    if not 1 <= count <= QUEUE_RATE_MAX or not 0.001 <= seconds <= QUEUE_RATE_S_MAX:
        raise wrong
    return count, float(seconds)


class Queue:
    """A queue by its name, with the limits that code declares for it (docs/queues.md).

    The store holds the limits, for all engines together: they are recorded when something is first enqueued by this
    object, and again when code declares other ones. `durable queue set` changes them in between. BadArguments.
    """

    __slots__ = ("limits", "name")

    def __init__(
        self,
        name: str,
        *,
        concurrency: int | None = None,
        per_engine: int | None = None,
        per_key: int | None = None,
        rate: tuple[int, float] | None = None,
    ) -> None:
        self.name = check_queue_name(name)
        self.limits = QueueLimits(concurrency, per_engine, per_key, rate)

    def __repr__(self) -> str:
        limits = {name: value for name, value in self.limits.to_json().items() if value is not None}
        return f"Queue({', '.join([repr(self.name), *(f'{name}={value!r}' for name, value in limits.items())])})"
