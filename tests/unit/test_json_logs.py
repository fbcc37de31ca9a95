"""Logs as JSON lines, with the ids of what was going on (specs/telemetry.md, L1-L3)."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import durable
from durable.core.events import ExecutionHalted, StepBegun, log_event
from durable.core.observers import Observers
from durable.telemetry import log_json


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    found = io.StringIO()
    logger = logging.getLogger("durable")
    before = logger.level, logger.propagate
    handler = log_json(logging.DEBUG, found)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(before[0])
    logger.propagate = before[1]


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_a_line_with_its_fields(stream: io.StringIO) -> None:
    log_event(ExecutionHalted("r", "not served\nhere"))
    log_event(StepBegun("r", "r.1", "fetch"))
    halted, begun = lines(stream)
    assert halted.pop("time").endswith("Z")
    named = {"event": "ExecutionHalted", "execution": "r", "note": "not served\nhere"}
    assert halted == {"level": "warning", "logger": "durable", **named}
    assert (begun["event"], begun["execution"], begun["step"], begun["level"]) == ("StepBegun", "r", "r.1", "debug")


def says() -> None:
    logging.getLogger("durable.mine").info("from a step")


@durable.function
async def talks(ctx: durable.Context) -> None:
    ctx.log("begun with %d", 3)
    await ctx.run(says)


async def test_what_a_step_logs_has_its_ids(stream: io.StringIO) -> None:
    async with durable.open(":memory:") as engine:
        await (await engine.start(talks, id="t")).result()
    found = lines(stream)
    said = next(line for line in found if line.get("message") == "from a step")
    assert (said["execution"], said["step"], said["logger"]) == ("t", "t.1", "durable.mine")
    told = next(line for line in found if line.get("message") == "begun with 3")
    assert (told["execution"], told["level"]) == ("t", "info")
    assert {"ExecutionCreated", "ExecutionStarted", "StepBegun", "StepRecorded", "ExecutionSettled"} <= {
        line.get("event") for line in found
    }


async def test_an_observer_that_fails_keeps_nobody_from_being_told() -> None:
    seen: list[object] = []

    def fails(_event: object) -> None:
        raise RuntimeError("no space")

    async with durable.open(":memory:", observer=[fails, seen.append]) as engine:
        await (await engine.start(talks, id="t")).result()
    assert seen


def test_events_of_the_normal_course_are_made_for_an_observer_or_a_log_that_shows_them() -> None:
    assert not Observers.of(log_event).watching
    assert not Observers.of([log_event]).watching
    assert Observers.of([log_event, print]).watching
    logger = logging.getLogger("durable")
    before = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        assert Observers.of(log_event).watching
    finally:
        logger.setLevel(before)
    assert not Observers.of([]).watching


def test_a_command_says_what_it_says_in_json(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "durable.cli", "--log-format", "json", "--store", "no.db", "show", "x"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["logger"] == "durable.cli"
    assert done.returncode == 3
