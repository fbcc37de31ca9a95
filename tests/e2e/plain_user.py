"""Become a plain user who can reach this Python, then run a command: `python -m tests.e2e.plain_user UID COMMAND…`.

Needs root. Directories on the way to the interpreter that are closed to others are covered, in a mount namespace of
this process only, by one that shows just the way.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bridge.confine import syscalls


def needed() -> list[Path]:
    root = Path(__file__).resolve().parents[2]
    found = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent, root}
    return sorted(found)


def closed(path: Path) -> Path | None:
    """The outermost directory on the way that others may not pass."""
    for parent in reversed(path.parents):
        if not parent.stat().st_mode & 0o001:
            return parent
    return None


def open_ways() -> None:
    os.unshare(os.CLONE_NEWNS)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    ways: dict[Path, list[tuple[Path, int]]] = {}
    for path in needed():
        at = closed(path)
        if at is not None:
            ways.setdefault(at, []).append((path, os.open(path, os.O_PATH)))
    for at, shown in ways.items():
        syscalls.mount("tmpfs", str(at), "tmpfs", syscalls.MS_NODEV, "mode=755")
        for path, fd in shown:
            path.mkdir(parents=True, exist_ok=True)
            syscalls.mount(f"/proc/self/fd/{fd}", str(path), "", syscalls.MS_BIND | syscalls.MS_REC)
            os.close(fd)


def main(uid: int, command: list[str]) -> None:
    open_ways()
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    os.environ["HOME"] = "/nonexistent"
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
