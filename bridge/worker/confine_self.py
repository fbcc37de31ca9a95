"""How a worker confines itself when the engine's hello says so (specs/isolation.md)."""

from __future__ import annotations

import os
import sys

import checkpoint
from bridge.protocol.messages import Wire
from bridge.worker.io.channel import Channel
from bridge.worker.parent_death import die_with

EXIT_NOT_HELD = 78
"""Exit code of a worker that could not be confined (EX_CONFIG)."""


def inherited_descriptors(own: set[int]) -> list[int]:
    """The descriptors that are open now beside the standard streams and `own`."""
    with os.scandir("/proc/self/fd") as found:
        listed = [int(entry.name) for entry in found]
    return [fd for fd in listed if fd > 2 and fd not in own and _is_open(fd)]


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:  # that of the listing itself
        return False
    return True


def hold(channel: Channel, wanted: Wire, inherited: list[int]) -> None:
    """Confine this process, or tell the engine why it cannot be and end."""
    from bridge.confine.apply import confine  # only confined workers pay for its import
    from bridge.confine.confinement import Confinement
    from durable.core.errors import Unenforceable

    parent = os.getppid()
    try:
        confine(Confinement.read(wanted), inherited)
    except Unenforceable as error:
        text = "; ".join(error.missing)
        what = {"exception_type": "durable.Unenforceable", "exception_message": text, "traceback": ""}
        channel.send({"type": "error", "execution_id": None, **what})
        sys.stderr.flush()
        os._exit(EXIT_NOT_HELD)
    die_with(parent)  # the kernel forgets it when the credentials change
    checkpoint.STARTED_ENVIRONMENT.clear()
    checkpoint.STARTED_ENVIRONMENT.update(os.environ)
