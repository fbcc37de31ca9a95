"""`durable worker` as a process: it serves, drains on SIGTERM, reloads on SIGHUP, answers how it is."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import durable
from tests.waiting import in_state

from .cli_process import Terminal, read_errors_until

JOBS = """
import asyncio
from pathlib import Path

import durable

async def waits() -> str:
    Path("begun").touch()
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    return "{version}"

@durable.function(name="job")
async def job(ctx: durable.Context) -> str:
    return await ctx.run(waits)
"""


CLASS = """
@durable.actor
class Kettle:
    cups: int = 0
"""


@durable.function(name="job")
async def job(ctx: durable.Context) -> str:
    raise AssertionError("it runs in the worker")


def health(url: str) -> tuple[int, str]:
    try:
        with urlopen(url) as response:
            return response.status, json.load(response)["status"]
    except HTTPError as error:
        with error:
            return error.code, json.load(error)["status"]


async def test_a_worker_serves_reloads_and_drains(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.write("jobs.py", JOBS.format(version="old") + CLASS)
    terminal.durable("run", "jobs.py::Kettle").failed(2, "is a class of actors", "durable worker")
    terminal.durable("run", "jobs.py::nothing").failed(2, "it has job")
    terminal.durable("worker", "nothing.py").failed(2, "nothing.py")
    terminal.durable("worker", "jobs.py", "--health", "here").failed(2, "HOST:PORT")
    arguments = ("worker", "jobs.py", "--health", "127.0.0.1:0", "--concurrency", "1", "--drain-timeout", "20")
    with terminal.running(*arguments) as process:
        read_errors_until(process, "serving 1 function: job@1")
        read_errors_until(process, "serving 1 class of actors: Kettle")
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert health(url) == (200, "ok")
        async with durable.open(tmp_path / ".durable" / "state.db", serve=False) as client:
            first, second = await client.start(job, id="first"), await client.start(job, id="second")
            await in_state(client, first, "running")
            assert await second.state() == "pending", "one at a time"
            terminal.write("jobs.py", JOBS.format(version="new"))
            process.send_signal(signal.SIGHUP)
            read_errors_until(process, "taking nothing new")
            assert health(url) == (503, "draining")
            terminal.write("go", "")
            assert await first.result(20) == "old"
            read_errors_until(process, "serving 1 function: job@1")
            assert await second.result(20) == "new"
            terminal.write("jobs.py", "raise SystemExit(1)")
            process.send_signal(signal.SIGHUP)
            read_errors_until(process, "cannot be loaded")
            (tmp_path / "go").unlink()
            (tmp_path / "begun").unlink()
            third = await client.start(job, id="third")
            await in_state(client, third, "running")
            process.send_signal(signal.SIGTERM)
            read_errors_until(process, "taking nothing new")
            process.send_signal(signal.SIGTERM)
            read_errors_until(process, "still running, to go on elsewhere: 1")
            assert process.wait(20) == 0
            assert await third.state() == "running", "released, not settled"


async def test_a_run_that_nobody_waits_for_is_the_workers(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.write("jobs.py", JOBS.format(version="run"))
    terminal.write("go", "")
    said = terminal.durable("run", "jobs.py::job", "--id", "before", "--detach")
    assert (said.out, said.code) == ("before\n", 0)
    assert "`durable worker " in said.err
    assert "`durable result before`" in said.err
    with terminal.running("worker", "jobs.py") as process:
        read_errors_until(process, "serving 1 function: job@1")
        said = terminal.durable("run", "jobs.py::job", "--id", "after", "--detach", "--json")
        assert said.data["id"] == "after"
        assert "durable worker" not in said.err
        for id in ("before", "after"):
            assert terminal.durable("result", id).out == "run\n"
        again = terminal.durable("run", "jobs.py::job", "--id", "after", "--detach", "--json")
        assert again.data == {"id": "after", "state": "completed"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
