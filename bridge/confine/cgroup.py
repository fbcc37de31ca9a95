"""A control group of one worker: memory and CPU time of all that it starts, whatever that does (specs/isolation.md, G).

Version 2 where the engine may make groups below its own, else version 1, each controller by itself. What a process
cannot leave counts memory files, socket buffers, pipes, stacks and children, which no limit of a process does.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from durable.core.frozen_record import FrozenRecord

ROOT = Path("/sys/fs/cgroup")

OWN_BYTES = 32 * 2**20
"""Bytes that a session may have beside its limit: the interpreter's own pages, and the kernel's for it."""

_EMPTY_S = 5.0
"""Seconds for the kernel to take an ended group's processes away."""

_numbers = itertools.count(1)


class Means(FrozenRecord, frozen=True):
    """Where groups can be made: the directories of the controllers, which are one in version 2."""

    version: int
    memory: Path | None
    cpu: Path | None

    def __bool__(self) -> bool:
        return self.memory is not None or self.cpu is not None


@cache
def means() -> Means:
    """Where this process can make groups, found by trying it. Groups of engines that are gone are removed."""
    found = _means()
    for place in filter(None, (found.memory, found.cpu)):
        for left in place.glob("durable-*-*"):
            pid = left.name.split("-")[1]
            if not Path(f"/proc/{pid}").exists():
                with contextlib.suppress(OSError):
                    left.rmdir()  # only an empty one goes
    return found


def _means() -> Means:
    own = _own_groups()
    unified = [Path(place) / own.get("", "/").lstrip("/") for place in (ROOT, ROOT / "unified")]
    for place in unified:
        if _usable(place, "memory.max") and _usable(place, "cpu.stat"):
            return Means(2, place, place)
    memory = next((each for each in _places(own, "memory") if _usable(each, "memory.limit_in_bytes")), None)
    cpu = next((each for each in _places(own, "cpuacct") if _usable(each, "cpuacct.usage")), None)
    return Means(1, memory, cpu)


def _own_groups() -> dict[str, str]:
    """Paths of this process's groups by controller; "" is version 2's."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            found.update((name, path) for name in controllers.split(","))
    return found


def _places(own: dict[str, str], controller: str) -> Iterator[Path]:
    for directory in (ROOT / controller, ROOT / "cpu,cpuacct"):
        if controller in own:
            yield directory / own[controller].lstrip("/")
        yield directory


def _usable(place: Path, file: str) -> bool:
    """Whether a group can be made there that has this file."""
    trial = place / f"durable-{os.getpid()}-{next(_numbers)}"
    try:
        trial.mkdir()
    except OSError:
        return False
    try:
        return (trial / file).exists() and os.access(trial / "cgroup.procs", os.W_OK)
    finally:
        with contextlib.suppress(OSError):
            trial.rmdir()


class Cgroup:
    """The control group of one worker. Made before the worker reads its first message; ended and removed with it."""

    def __init__(self, memory: Path | None, cpu: Path | None, version: int) -> None:
        self._memory = memory
        self._cpu = cpu
        self._version = version

    @classmethod
    def hold(cls, pid: int, memory: int | None) -> Cgroup | None:
        """Put a process into a group of its own; None where this machine does not let us.

        memory: bytes that all of it may hold.
        """
        found = means()
        if not found:
            return None
        name = f"durable-{os.getpid()}-{next(_numbers)}"
        made: list[Path] = []
        try:
            for place in dict.fromkeys(filter(None, (found.memory, found.cpu))):
                (place / name).mkdir()
                made.append(place / name)
            group = cls(
                None if found.memory is None else found.memory / name,
                None if found.cpu is None else found.cpu / name,
                found.version,
            )
            if memory is not None and group._memory is not None:
                group._limit(memory + OWN_BYTES)
            for directory in made:
                (directory / "cgroup.procs").write_text(str(pid))
        except OSError:
            for directory in made:
                with contextlib.suppress(OSError):
                    directory.rmdir()
            return None
        return group

    @property
    def holds_memory(self) -> bool:
        """Whether the group limits memory."""
        return self._memory is not None

    def _limit(self, memory: int) -> None:
        assert self._memory is not None
        if self._version == 2:
            (self._memory / "memory.max").write_text(str(memory))
            with contextlib.suppress(OSError):
                (self._memory / "memory.swap.max").write_text("0")
            return
        (self._memory / "memory.limit_in_bytes").write_text(str(memory))
        with contextlib.suppress(OSError):  # not every kernel counts swap
            (self._memory / "memory.memsw.limit_in_bytes").write_text(str(memory))

    def cpu_seconds(self) -> float | None:
        """CPU time of everything that ever ran in the group; None where that is not counted."""
        try:
            if self._cpu is None:
                return None
            if self._version == 2:
                fields = dict(line.split() for line in (self._cpu / "cpu.stat").read_text().splitlines())
                return int(fields["usage_usec"]) / 1e6
            return int((self._cpu / "cpuacct.usage").read_text()) / 1e9
        except (OSError, KeyError, ValueError):
            return None

    def killed_for_memory(self) -> bool:
        """Whether the kernel ended a process of the group that asked for more memory than there may be."""
        if self._memory is None:
            return False
        name = "memory.events" if self._version == 2 else "memory.oom_control"
        try:
            fields = dict(line.split() for line in (self._memory / name).read_text().splitlines())
        except (OSError, ValueError):
            return False
        return int(fields.get("oom_kill", 0)) > 0

    def memory_peak(self) -> int | None:
        """The most memory that the group held, in bytes."""
        if self._memory is None:
            return None
        name = "memory.peak" if self._version == 2 else "memory.max_usage_in_bytes"
        try:
            return int((self._memory / name).read_text())
        except (OSError, ValueError):
            return None

    def processes(self) -> list[int]:
        """Process ids of the group's members."""
        directory = self._cpu or self._memory
        assert directory is not None
        try:
            return [int(line) for line in (directory / "cgroup.procs").read_text().split()]
        except OSError:
            return []

    def kill(self) -> None:
        """Send SIGKILL to the whole group, also to what left the worker's process group or session."""
        if self._version == 2 and self._cpu is not None:
            with contextlib.suppress(OSError):
                (self._cpu / "cgroup.kill").write_text("1")
                return
        for _ in range(100):  # who forks meanwhile is met in the next round
            found = self.processes()
            for pid in found:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            if not found:
                return

    def remove(self) -> None:
        """End what is left and take the group away. Blocks until the kernel has cleared it; for a thread."""
        until = time.monotonic() + _EMPTY_S
        self.kill()
        for directory in dict.fromkeys(filter(None, (self._memory, self._cpu))):
            while directory.exists() and time.monotonic() < until:
                try:
                    directory.rmdir()
                except OSError:
                    self.kill()
                    time.sleep(0.01)
