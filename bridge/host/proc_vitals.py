"""How a worker is, as the kernel tells it: code that holds the GIL cannot answer (specs/session.md, Vitals)."""

from __future__ import annotations

import os
from pathlib import Path

from bridge.lock_wait import waits_for_a_lock
from durable.core.frozen_record import FrozenRecord

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")

STOPPED = "it is stopped (SIGSTOP); SIGCONT lets it go on"
TRACED = "a debugger holds it"
IN_KERNEL = "it sleeps in the kernel and cannot be interrupted: a disk or a file server does not answer"
DEADLOCKED = "all its threads wait for locks without a time limit, and nobody is left to release them"
_OF_STATE = {"T": STOPPED, "t": TRACED, "D": IN_KERNEL}


class Vitals(FrozenRecord, frozen=True):
    """A worker at one moment. memory: resident bytes. cpu: percent of one processor since the look before. names: size
    of the namespace as it last said, None before. quiet_s: seconds without CPU use. stuck: why it will not go on by
    itself; empty for code that computes, sleeps or waits for something outside.
    """

    pid: int
    memory: int
    cpu: float
    names: int | None
    quiet_s: float
    stuck: str


def cpu_seconds(pid: int) -> float | None:
    """CPU time of a process and of those it has waited for; None when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return sum(map(int, fields[11:15])) / _TICKS


def memory_peak(pid: int) -> int | None:
    """The most that a process has had in memory, in bytes; None when it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return None


def memory_now(pid: int) -> int | None:
    """Resident bytes of a process; None when it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return None


def why_stuck(pid: int) -> str:
    """Why the process cannot go on at this moment; empty when it can, or when the kernel does not tell."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        threads = os.listdir(f"/proc/{pid}/task")
        if state in _OF_STATE:
            return _OF_STATE[state]
        if all(waits_for_a_lock(pid, thread) and not _children(pid, thread) for thread in threads):
            return DEADLOCKED
    except OSError:
        pass
    return ""


def _children(pid: int, thread: str) -> str:
    return Path(f"/proc/{pid}/task/{thread}/children").read_text()
