"""SIGKILL at the n-th write point of a capture or a restore. Preloaded into workers, and imported by the engine's job.

A point is a system call that writes, a statement of the store about checkpoints, a step of a restore, a phase of a
capture: everything after which something is there that was not. Nothing of this is in the product: functions of `os`,
of the store's fault hook and of the checkpoint package are wrapped here, in processes of tests. KILLING names a folder,
KILLING_AT "role:number" (roles: worker, child, engine); points are counted in that folder, role by role.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

NAME_BYTES = 48
"""Each point that was passed is one line of that length in the folder's file of its role."""

_role = ""
_depth = 0
_write = os.write


def passed(folder: Path, role: str) -> list[str]:
    """The points that a run passed, in order."""
    try:
        data = (folder / f"points.{role}").read_text()
    except FileNotFoundError:
        return []
    return [data[at : at + NAME_BYTES].strip() for at in range(0, len(data), NAME_BYTES)]


def point(name: str, last_words: Callable[[], object] | None = None) -> None:
    """One point; at the one that was asked for the process ends, having said its last words (half a write)."""
    folder, at = os.environ.get("KILLING"), os.environ.get("KILLING_AT", "")
    if not folder or not _role:
        return
    descriptor = os.open(f"{folder}/points.{_role}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    _write(descriptor, name[: NAME_BYTES - 1].ljust(NAME_BYTES - 1).encode() + b"\n")
    number = os.lseek(descriptor, 0, os.SEEK_CUR) // NAME_BYTES
    os.close(descriptor)
    if f"{_role}:{number}" != at:
        return
    with suppress(FileExistsError):
        os.close(os.open(f"{folder}/killed", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        if last_words is not None:
            last_words()
        os.kill(os.getpid(), signal.SIGKILL)


def wrap(owner: Any, name: str, *, covers: bool = False, only_covered: bool = True) -> None:
    """Make a function's begin and end points; `covers`: what it does counts, too."""
    original = getattr(owner, name)

    def wrapped(*arguments: Any, **options: Any) -> Any:
        global _depth
        if only_covered and not covers and not _depth:
            return original(*arguments, **options)
        torn: Callable[[], object] | None = None
        if original is _write:
            torn = lambda: _write(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])  # noqa: E731
        point(f"before {name}", torn)
        _depth += covers
        try:
            found = original(*arguments, **options)
        finally:
            _depth -= covers
        point(f"after {name}")
        return found

    setattr(owner, name, wrapped)


def in_worker() -> None:
    """Points of captures and restores in a worker, and in the child that captures for it."""
    global _role
    from bridge.worker.io import channel
    from bridge.worker.run import checkpoint_timing
    from checkpoint import restore
    from checkpoint.capture import forked_capture, incremental_capture

    _role = "worker"
    be_child = forked_capture._be_child

    def child(*arguments: Any) -> None:
        global _role
        _role = "child"
        be_child(*arguments)

    forked_capture._be_child = child  # type: ignore[assignment]
    wrap(checkpoint_timing.Checkpoints, "send", covers=True)
    wrap(checkpoint_timing.Checkpoints, "restore", covers=True)
    wrap(channel.Channel, "send")
    for name in ("_draft", "_pickle", "_payload", "settle", "prime"):
        wrap(incremental_capture.Capturer, name)
    wrap(incremental_capture, "run_aside")
    for name in ("prepare", "apply_sources", "finish"):
        wrap(restore, name)
    for name in ("_load", "_publish", "fill_internals"):
        wrap(restore.Restoration, name)
    wrap(os, "write")


def in_engine() -> None:
    """Points of an engine that stores a checkpoint: its files, and the statements of its transaction."""
    global _role
    from durable.store.sqlite.store import Store

    _role = "engine"
    open_files = Store._open_files
    about = [False]

    def fault(when: str, sql: str) -> None:
        if any(word in sql.lower() for word in ("checkpoint", "chunk", "manifest")):
            about[0] = True
            point(f"{when} {' '.join(sql.split())}")
        elif about[0] and sql.startswith("COMMIT"):
            point(f"{when} COMMIT")
            about[0] = when == "before"

    def watched(self: Store, _fault: object) -> None:
        open_files(self, fault)

    Store._open_files = watched  # type: ignore[assignment]
    for name in ("write", "fsync", "replace", "rename", "link"):
        wrap(os, name, only_covered=False)


if (
    os.environ.get("KILLING")
    and __name__ == "tests.e2e.killing"
    and os.environ.get("KILLING_ENGINE") != str(os.getpid())
):
    in_worker()
