"""The use of a worker and of all that it starts, added up from /proc: where no control group can be had.

It looks now and then, so it sees what lasts: not the CPU time of what began and ended between two looks, nor memory
that was given back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")

SOCKET_BYTES = 425_984
"""Bytes that the kernel lets one socket hold for its senders: twice the usual net.core.wmem_max."""


IN_FLIGHT_BYTES = 32 * 2**20
"""Bytes for each descriptor that was sent through a socket and not taken yet: what it holds cannot be seen."""


class TreeUsage:
    """A worker's process group, its descendants, and those of them that ended."""

    def __init__(self, pid: int, *, isolated: bool) -> None:
        self._pid = pid
        self._isolated = isolated
        self._seen: dict[tuple[int, int], float] = {}
        """CPU seconds of each process, by pid and start time, as they were last."""
        self._members: set[int] = {pid}
        self._sockets_before = self._sockets()

    def cpu_seconds(self) -> float:
        """CPU time of all processes that were seen."""
        self._look()
        return sum(self._seen.values())

    def memory_bytes(self) -> int:
        """Bytes held now: pages of processes, memory files that they have open, file systems in memory, sockets."""
        self._look()
        files: dict[tuple[int, int], int] = {}
        flying: dict[int, int] = {}
        pages = 0
        for pid in self._members:
            pages += _proportional_bytes(pid)
            for name, target in _open_files(pid):
                if target.startswith("/memfd:"):
                    files.update(_memory_file(pid, name))
                elif target.startswith("socket:") and self._isolated:
                    flying[int(target[8:-1])] = _in_flight(pid, name)
        pages += sum(flying.values()) * IN_FLIGHT_BYTES
        return pages + sum(files.values()) + self._in_file_systems() + self._in_sockets()

    def processes(self) -> list[int]:
        """Ids of the processes that were seen last."""
        return sorted(self._members)

    def _look(self) -> None:
        members: set[int] = set()
        for pid, parent, group, start, cpu in _all_processes():
            if group == self._pid or parent in self._members or (pid == self._pid):
                members.add(pid)
                key = (pid, start)
                self._seen[key] = max(cpu, self._seen.get(key, 0.0))
        self._members = members | ({self._pid} if Path(f"/proc/{self._pid}").exists() else set())

    def _in_file_systems(self) -> int:
        if not self._isolated:
            return 0
        used = 0
        for place in ("dev/shm", "session"):
            with suppress(OSError):
                found = os.statvfs(f"/proc/{self._pid}/root/{place}")
                if _is_in_memory(self._pid, f"/{place}"):
                    used += (found.f_blocks - found.f_bfree) * found.f_frsize
        return used

    def _in_sockets(self) -> int:
        if not self._isolated:
            return 0  # its sockets are those of the machine
        return max(0, self._sockets() - self._sockets_before) * SOCKET_BYTES

    def _sockets(self) -> int:
        try:
            line = Path(f"/proc/{self._pid}/net/sockstat").read_text().partition("\n")[0]
            return int(line.split()[2])
        except (OSError, IndexError, ValueError):
            return 0


def _all_processes() -> Iterator[tuple[int, int, int, int, float]]:
    """pid, parent, process group, start time, CPU seconds; parents before most of their children."""
    for name in sorted((name for name in os.listdir("/proc") if name.isdigit()), key=int):
        try:
            fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        yield int(name), int(fields[1]), int(fields[2]), int(fields[19]), sum(map(int, fields[11:13])) / _TICKS


def _proportional_bytes(pid: int) -> int:
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _open_files(pid: int) -> Iterator[tuple[str, str]]:
    """The descriptors of a process, and what they are."""
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return
    for name in names:
        with suppress(OSError):
            yield name, os.readlink(f"/proc/{pid}/fd/{name}")


def _memory_file(pid: int, name: str) -> dict[tuple[int, int], int]:
    """Bytes that a memory file holds, by its device and inode; nothing when it was closed."""
    with suppress(OSError):
        found = os.stat(f"/proc/{pid}/fd/{name}")
        return {(found.st_dev, found.st_ino): found.st_blocks * 512}
    return {}


def _in_flight(pid: int, name: str) -> int:
    """Descriptors that wait in a Unix socket."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/fdinfo/{name}").read_text().splitlines():
            if line.startswith("scm_fds:"):
                return int(line.split()[1])
    return 0


def _is_in_memory(pid: int, place: str) -> bool:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/mounts").read_text().splitlines():
            parts = line.split()
            if parts[1] == place:
                return parts[2] == "tmpfs"
    return False
