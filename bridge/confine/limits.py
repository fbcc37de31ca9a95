"""The limits of one session, and the names of what it ran out of (specs/isolation.md, Limits). No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from msgspec import structs

from durable.core.errors import BadArguments
from durable.core.frozen_record import FrozenRecord

type Resource = Literal["memory", "cpu", "wall", "output", "files", "disk", "processes"]
type Profile = Literal["open", "isolated"]

MEMORY_BYTES_MIN = 64 * 2**20
"""The interpreter, the worker's own code and a checkpoint of a small namespace."""

FILES_MIN = 32
"""Descriptors: the worker itself holds about twelve, an import needs a few."""

DISK_BYTES_MIN = 64 * 2**10

_SMALLEST = {"memory": MEMORY_BYTES_MIN, "files": FILES_MIN, "disk": DISK_BYTES_MIN}

_SIGNS: tuple[tuple[Resource, str, str], ...] = (
    ("memory", r"(\w+\.)*_?(ArrayMemoryError|MemoryError)", ""),
    ("memory", r"OSError", r"\[Errno 12\]"),
    ("files", r"OSError", r"\[Errno 24\]"),
    ("disk", r"OSError", r"\[Errno (28|122)\]"),
    ("processes", r"BlockingIOError", r"\[Errno 11\]"),
    ("processes", r"RuntimeError", r"can't start new thread"),
    ("memory", r"RuntimeError", r"can't start new thread"),  # no room for its stack
)
"""How Python tells that the kernel refused more: the resource, the exception's type and the start of its text."""


class Limits(FrozenRecord, frozen=True, kw_only=True):
    """A session's limits; None or 0 means no limit. Raises BadArguments for what cannot be.

    memory: bytes that each of its processes may hold. cpu: seconds of CPU time of one execution. wall: seconds that one
    execution may run, without its waiting for people. output: bytes that one execution may print. files: descriptors
    that a process may have open. disk: bytes in the session's directory (`isolated` only; it is then kept in memory and
    ends with the worker). processes: processes and threads that the code may have beside the worker itself.
    """

    memory: int | None = None
    cpu: float | None = None
    wall: float | None = None
    output: int | None = None
    files: int | None = None
    disk: int | None = None
    processes: int | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            given = getattr(self, name)
            whole = name not in ("cpu", "wall")
            if given is None or (given == 0 and not isinstance(given, bool)):
                structs.force_setattr(self, name, None)
                continue
            if isinstance(given, bool) or not isinstance(given, int if whole else int | float) or not 0 < given < 2**62:
                kind = "a whole number" if whole else "a number of seconds"
                raise BadArguments(f"Limits({name}={given!r}): expected {kind} above 0, or None for no limit")
            if given < _SMALLEST.get(name, 0):
                raise BadArguments(f"Limits({name}={given!r}): at least {_SMALLEST[name]} is needed to run")

    def __bool__(self) -> bool:
        return any(getattr(self, name) is not None for name in self.__struct_fields__)

    def to_json(self) -> dict[str, int | float]:
        """The limits that are set, by name."""
        return {name: value for name, value in structs.asdict(self).items() if value is not None}

    @classmethod
    def read(cls, found: Mapping[str, object]) -> Limits:
        """Read what `to_json` made. Raises BadArguments for another name, so that a limit is never dropped."""
        try:
            return cls(**found)  # type: ignore[arg-type]  # checked in __post_init__
        except TypeError as error:
            raise BadArguments(f"limits {dict(found)!r}: {error}") from None


def ran_out(limits: Limits, exception_type: str, message: str) -> Resource | None:
    """The limited resource that user code ran out of, told by its error; None when it is another error."""
    for resource, kind, text in _SIGNS:
        if getattr(limits, resource) is not None and re.fullmatch(kind, exception_type) and re.match(text, message):
            return resource
    return None
