"""A part of the crash points in a process of its own; all of them with `python -m tests.contract.crash_points`."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from durable.store.operations.request_table import KINDS
from tests.warm_python import PYTHON

from .crash_script import Request, before_the_day, the_day


def test_the_script_reaches_every_kind_of_request() -> None:
    reached = {step.kind for step in [*before_the_day(), *the_day()] if isinstance(step, Request)}
    assert {name for name, kind in KINDS.items() if not kind.debug} - reached == set()


@pytest.mark.timeout(300)
async def test_killed_at_any_write_nothing_acknowledged_is_lost_and_nothing_is_half_done() -> None:
    # Single-threaded, so that it may fork for each point.
    process = await asyncio.create_subprocess_exec(
        *(PYTHON, "-m", "tests.contract.crash_points", "--every", "40", "--first", "5"),
        stdout=PIPE,
        stderr=STDOUT,
        cwd=Path(__file__).parents[2],
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    assert said.count(b"killed at") == 4
