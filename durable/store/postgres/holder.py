"""The holder of a lease: a process. On the same machine its death is seen at once, not at its lease's end."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def new_holder() -> str:
    """The name of one opening of a store by this process."""
    return f"{_machine()} {os.getpid()} {_start(os.getpid())} {uuid.uuid4().hex}"


def is_gone(holder: str) -> bool:
    """Whether the process is surely dead: it was one of this machine, as this process sees it, and is no more."""
    parts = holder.split(" ")
    if len(parts) != 4 or parts[0] != _machine() or not parts[1].isdecimal():
        return False
    return _start(int(parts[1])) != parts[2]


def _machine() -> str:
    """The boot of this machine, and the space in which process numbers count; a random one where that is unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return f"unknown/{uuid.uuid4().hex}"


def _start(pid: int) -> str:
    """The time at which a process started, in ticks since the boot; "" when there is none. A zombie is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else fields[19]
