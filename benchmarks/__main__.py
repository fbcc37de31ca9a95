"""`python -m benchmarks`: measure durable-exec beside its peers and print the ratios."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from pathlib import Path

import click
from rich.console import Console

from benchmarks import (
    actors,
    agent_frameworks,
    answers,
    capabilities,
    cell,
    checkpoints,
    control,
    database,
    executions,
    flat,
    hop,
    interrupts,
    javascript,
    jupyter,
    modules,
    notice,
    pending,
    printing,
    queued,
    recovery,
    remote,
    session_start,
    small_checkpoint,
    step_latency,
    telemetry_step,
)
from benchmarks.peers import Peers, obtain
from benchmarks.report import document, machine, show
from benchmarks.rounds import Report, measure

BENCHMARKS = {
    module.BENCHMARK.name: module.BENCHMARK
    for module in (
        step_latency,
        telemetry_step,
        executions,
        flat,
        recovery,
        pending,
        cell,
        session_start,
        small_checkpoint,
        notice,
        capabilities,
        answers,
        printing,
        remote,
    )
} | {
    benchmark.name: benchmark
    for benchmark in (
        database.STEP,
        database.EXECUTIONS,
        database.RECOVERY,
        database.CELL,
        hop.PROMISE,
        hop.HOP,
        *checkpoints.LARGE,
        session_start.FIFTY,
        session_start.MEMORY,
        *interrupts.INTERRUPTS,
        interrupts.KILLED,
        interrupts.HELD,
        *actors.ACTORS,
        *agent_frameworks.FRAMEWORKS,
        *queued.QUEUES,
        *control.CONTROL,
        *javascript.JAVASCRIPT,
        *modules.MODULES,
        *jupyter.KERNEL,
    )
}
ROUNDS, ROUNDS_QUICK = 7, 3


def peers_home() -> Path:
    """Where the peers stay between runs unless told otherwise: the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "durable-exec-benchmarks"


async def run(names: tuple[str, ...], peers: Peers, directory: Path, *, quick: bool, rounds: int) -> list[Report]:
    """Every benchmark asked for, one after the other."""
    notes = Console(stderr=True)
    found = []
    for name in names:
        with notes.status(name) as status:
            say = status.update if notes.is_terminal else lambda _: None
            found.append(await measure(BENCHMARKS[name], peers, directory, rounds=rounds, quick=quick, say=say))
    return found


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Fewer rounds and samples: not a figure to quote.")
@click.option("--only", "names", multiple=True, type=click.Choice(list(BENCHMARKS)), help="May be given several times.")
@click.option("--rounds", type=click.IntRange(1), help=f"Counted rounds; {ROUNDS}, or {ROUNDS_QUICK} with --quick.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Also write everything measured.")
@click.option("--peers", "home", type=click.Path(path_type=Path, file_okay=False), help="Where the peers are kept.")
@click.option("--dir", "stores", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Disk for stores.")
def main(
    quick: bool, names: tuple[str, ...], rounds: int | None, file: Path | None, home: Path | None, stores: Path | None
) -> None:
    """Measure durable-exec beside its peers, in one run, as ratios. Installs the peers on first use."""
    notes = Console(stderr=True)
    chosen = names or tuple(BENCHMARKS)
    asked = {entrant.contender for name in chosen for entrant in BENCHMARKS[name].entrants}
    restate, apart = (any(place in each for each in asked) for place in ("{restate_server}", "{apart}"))
    peers = obtain(home or peers_home(), notes.print, restate=restate, apart=apart)
    counted = rounds or (ROUNDS_QUICK if quick else ROUNDS)
    with tempfile.TemporaryDirectory(prefix="durable-benchmarks-", dir=stores) as temporary:
        directory = Path(temporary)
        reports = asyncio.run(run(chosen, peers, directory, quick=quick, rounds=counted))
    where = machine()
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    show(console, reports, peers.missing, where)
    if file is not None:
        file.write_text(json.dumps(document(reports, peers.missing, where), indent=1))


if __name__ == "__main__":
    main()
