"""Running one benchmark: its contenders started, turns interleaved, the first round thrown away as warm-up."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.contender import Contender, ContenderFailed
from benchmarks.figures import Benchmark, Entrant, Line, compare
from benchmarks.peers import Peers

SETTLE_S = 0.2
"""Between two turns: what one left under way (checkpoints to the disk, ended children) does not fall to the next."""


SYNCS = 20
PAGE_BYTES = 4096


@dataclass(slots=True)
class Report:
    """What one benchmark found."""

    benchmark: Benchmark
    lines: list[Line] = field(default_factory=list)
    samples: dict[str, list[list[float]]] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    """Entrants that could not take part or fell out, and why."""
    syncs: list[float] = field(default_factory=list)
    """What a sync cost at each round, in seconds: how much others use the disk."""
    loads: list[float] = field(default_factory=list)
    """The load of the machine at each round: how much others use the processors."""


def command(entrant: Entrant, peers: Peers) -> list[str]:
    """How the entrant's contender is started."""
    module, *options = entrant.contender.split()
    python = str(peers.python) if entrant.peer_env else sys.executable
    options = [option.format(restate_server=peers.restate_server, apart=peers.apart) for option in options]
    return [python, "-m", f"benchmarks.contenders.{module}", *options]


async def measure(
    benchmark: Benchmark, peers: Peers, directory: Path, *, rounds: int, quick: bool, say: Callable[[str], None]
) -> Report:
    """Run a benchmark for `rounds` counted rounds."""
    report = Report(benchmark)
    contenders = await _started(benchmark, peers, directory, report)
    size = benchmark.size_quick if quick else benchmark.size
    try:
        for number in range(rounds + 1):
            say(f"{benchmark.name}: {'warm-up' if number == 0 else f'round {number} of {rounds}'}")
            report.syncs.append(sync_cost(directory))
            report.loads.append(os.getloadavg()[0])
            for entrant in turned(benchmark.entrants, number):
                if entrant.label in report.absent:
                    continue
                try:
                    samples = await contenders[entrant.contender].turn(entrant.turn, size)
                except ContenderFailed as error:
                    report.absent[entrant.label] = str(error)
                    report.samples.pop(entrant.label, None)
                    continue
                if number:
                    report.samples.setdefault(entrant.label, []).append(samples)
                await asyncio.sleep(SETTLE_S)
    finally:
        await asyncio.gather(*(contender.close() for contender in contenders.values()))
    report.lines = compare(benchmark, report.samples)
    return report


def turned(entrants: tuple[Entrant, ...], number: int) -> tuple[Entrant, ...]:
    """The order of a round: each round another begins, so that nobody always follows the same one."""
    first = number % len(entrants)
    return entrants[first:] + entrants[:first]


def sync_cost(directory: Path) -> float:
    """The median of some writes of 4 KiB into a file that has its size, each with fdatasync, in seconds."""
    samples = []
    page = bytes(PAGE_BYTES)
    with (directory / "sync").open("wb", buffering=0) as file:
        file.write(page * SYNCS)
        os.fsync(file.fileno())
        for number in range(SYNCS):
            os.pwrite(file.fileno(), page, number * PAGE_BYTES)
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            samples.append(time.perf_counter() - started)
    return median(samples)


async def _started(benchmark: Benchmark, peers: Peers, directory: Path, report: Report) -> dict[str, Contender]:
    """The contenders by name, each started once however many entrants it has; the absent ones are reported."""
    found: dict[str, Contender] = {}
    failed: dict[str, str] = {}
    for entrant in benchmark.entrants:
        name = entrant.contender
        if name not in found and name not in failed:
            contender = Contender(command(entrant, peers), directory)
            try:
                await contender.start()
                found[name] = contender
            except ContenderFailed as error:
                failed[name] = str(error)
                await contender.close()
        if name in failed:
            report.absent[entrant.label] = failed[name]
        else:
            report.about[entrant.label] = found[name].about
    return found
