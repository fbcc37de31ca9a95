"""Ours with spans and metrics sent by OTLP to a collector in another process, without, and without a place for them.

The engines share a process, so that a turn of one differs from a turn of another in nothing else.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import durable
from benchmarks.contenders.durable_functions import timed_steps
from benchmarks.turns import Ready, serve
from durable.functions.replay.execution_pass import ExecutionPass
from durable.telemetry import OpenTelemetry

KINDS = ("on", "off", "bare")
BLOCK = 20
"""Steps of one kind in a row: a busy moment of the machine hits all kinds alike."""


def untold(*_place: Any, **_named: Any) -> None:
    """In place of what tells of a step."""


async def steps(engine: durable.Engine, size: int) -> list[float]:
    return await (await engine.start(timed_steps, size)).result()


@contextmanager
def collector() -> Any:
    """The URL of a collector in a process of its own, which takes everything and looks at nothing."""
    command = [sys.executable, "-m", "benchmarks.contenders.otlp_sink"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    durability: Literal["power", "process"] = "process" if "--durability=process" in sys.argv else "power"
    with collector() as url, patch.dict("os.environ", OTEL_EXPORTER_OTLP_ENDPOINT=url), OpenTelemetry() as telemetry:
        observers: list[durable.Observer] = [durable.log_event, telemetry]
        async with (
            durable.open(directory / "on.db", durability=durability, observer=observers) as watched,
            durable.open(directory / "off.db", durability=durability) as plain,
        ):
            taken: dict[str, list[float]] = {}

            async def block(kind: str, size: int) -> list[float]:
                if kind != "bare":
                    return await steps(watched if kind == "on" else plain, size)
                with patch.multiple(ExecutionPass, step_begun=untold, step_recorded=untold):
                    return await steps(plain, size)

            async def turn(kind: str, size: int) -> list[float]:
                """The samples of one kind: those of all kinds are taken together, a few steps of each in turn."""
                if kind not in taken:
                    taken.update({each: [] for each in KINDS})
                    for number in range(size // BLOCK):
                        first = number % len(KINDS)
                        for each in KINDS[first:] + KINDS[:first]:
                            taken[each] += (await block(each, BLOCK + 1))[1:]
                return taken.pop(kind)

            about = f"durable-exec {version('durable-exec')}, SQLite, durability={durability}, OTLP over HTTP"
            yield Ready(about, {kind: partial(turn, kind) for kind in KINDS})


if __name__ == "__main__":
    serve(setup)
