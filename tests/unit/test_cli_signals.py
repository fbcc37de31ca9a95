"""Signals end a command at once, whatever its loop does just then."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from durable.cli.command_group import Settings
from durable.cli.execution_wait import say_kept

CODE = """
import signal
from durable.cli.command_group import in_loop

async def wakes():
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor)
    return 0 if descriptor >= 0 else 1

raise SystemExit(in_loop(wakes))
"""


def test_a_signal_wakes_a_loop_that_is_about_to_sleep() -> None:
    assert subprocess.run([sys.executable, "-c", CODE], timeout=60, check=False).returncode == 0


def test_what_was_ended_before_its_store_was_made_had_not_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = Settings(store=str(tmp_path / "none.db"))
    asyncio.run(say_kept(chosen, chosen.out(), "a"))
    assert "a had not begun: nothing of it was recorded" in capsys.readouterr().err
