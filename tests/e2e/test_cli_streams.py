"""`durable stream` and `durable published` as processes: while an execution goes on, and after a SIGKILL of it."""

from __future__ import annotations

import json
from pathlib import Path

from .cli_process import Terminal, read_errors_until

JOBS = """
import os, signal
import durable

async def generate() -> None:
    tokens = durable.stream("tokens")
    for word in ("one", "two"):
        await tokens.write(word)
    if not os.path.exists("killed"):
        open("killed", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    await tokens.write({"three": 3})

@durable.function
async def tells(ctx: durable.Context) -> str:
    await ctx.stream("tokens").write("begin")
    await ctx.publish(state="writes")
    await ctx.run(generate)
    await ctx.publish(state="waits")
    await ctx.signal("go")
    await ctx.stream("tokens").write("end")
    return "ended"
"""


def test_streams_from_the_shell(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.write("jobs.py", JOBS)
    terminal.durable("stream", "one", "tokens").failed(3, "there is no store")
    assert terminal.durable("run", "jobs.py::tells", "--id", "one").code == -9
    assert terminal.durable("stream", "one", "tokens").out == "begin\none\ntwo\n"
    assert terminal.durable("published", "one", "state").out == "writes\n"
    with terminal.running("run", "jobs.py::tells", "--id", "one") as process:
        read_errors_until(process, "waits for the signal 'go'")
        with terminal.running("stream", "one", "tokens", "-f", "--offset", "3", "--json") as follower:
            assert follower.stdout is not None
            first = json.loads(follower.stdout.readline())
            assert (first["offset"], first["value"], first["position"]) == (3, {"three": 3}, 3)
            assert terminal.durable("signal", "one", "go").code == 0
            last = json.loads(follower.stdout.readline())
            assert (last["offset"], last["value"], last["step"]) == (4, "end", None)
            assert follower.wait(60) == 0
        assert process.wait(60) == 0
    assert terminal.durable("stream", "one", "tokens").out == 'begin\none\ntwo\n{"three": 3}\nend\n'
    assert terminal.durable("stream", "one", "--json").data == [{"name": "tokens", "next_offset": 5}]
    assert terminal.durable("published", "one", "--json").data == {"state": "waits"}
    terminal.durable("published", "one", "none", "--wait").failed(3, "ended without one")
    terminal.durable("stream", "other", "tokens").failed(3, "other")
