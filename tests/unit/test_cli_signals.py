"""Signals end a command at once, whatever its loop does just then."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import signal
from durable.cli.app import in_loop

async def wakes():
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor)
    return 0 if descriptor >= 0 else 1

raise SystemExit(in_loop(wakes))
"""


def test_a_signal_wakes_a_loop_that_is_about_to_sleep() -> None:
    assert subprocess.run([sys.executable, "-c", CODE], timeout=60, check=False).returncode == 0
