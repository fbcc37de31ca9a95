"""`durable retry` and `durable fork --at` as processes: planned, in bulk, refused (specs/fork.md)."""

from __future__ import annotations

from pathlib import Path

from .cli_process import Terminal

JOBS = """
import os
import durable

def act(n: int) -> int:
    if n == 2 and not os.path.exists("mended"):
        raise ValueError("broken")
    return n

@durable.function
async def job(ctx: durable.Context) -> list[int]:
    return [await ctx.run(act, n) for n in range(4)]
"""


def test_retries_from_the_shell(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.write("jobs.py", JOBS)
    assert terminal.durable("run", "jobs.py::job", "--id", "one").code == 1
    plan = {"id": "one-retry-1", "source": "one", "kept": 3, "begun_again": ["one.3"], "queue": ""}
    assert terminal.durable("retry", "one", "--dry-run", "--json").data == [plan]
    terminal.write("mended", "")
    assert terminal.durable("retry", "--state", "failed", "--json").data == [plan]
    assert terminal.durable("resume", "one-retry-1").out == "[0, 1, 2, 3]\n"
    terminal.durable("retry", "one-retry-1").failed(6, "completed")
    terminal.durable("retry", "one").failed(6, "one was retried as one-retry-1, which is completed")
    done = terminal.durable("retry", "--state", "failed", "--json")
    assert (done.code, done.data) == (0, [])
    assert "one was retried as one-retry-1" in done.err
    assert "retried as one-retry-1" in terminal.durable("show", "one").out
    terminal.durable("retry").failed(2, "name an ID")
    terminal.durable("fork", "one", "--at", "9").failed(6, "there is no step 9")
    assert terminal.durable("fork", "one", "two", "--at", "3", "--dry-run", "--json").data[0]["kept"] == 2
    bulk = ("fork", "--at", "3", "--function", "job", "--state", "completed")
    (planned,) = terminal.durable(*bulk, "--dry-run", "--json").data
    terminal.durable("fork", "one", "--at", "work").failed(2, "is no step's number")
    assert planned == {"id": "one-retry-1-fork-1", "source": "one-retry-1", "kept": 2, "begun_again": [], "queue": ""}
    assert terminal.durable("list", "--state", "pending", "--json").data == [], "nothing was made"
    assert terminal.durable(*bulk, "--json").data == [planned]
    assert terminal.durable("resume", planned["id"]).out == "[0, 1, 2, 3]\n"
    beyond = terminal.durable("fork", "--at", "9", "--function", "job", "--json")
    assert (beyond.code, beyond.data) == (1, [])
    assert "one is not forked: there is no step 9" in beyond.err
    terminal.durable("fork", "--state", "failed").failed(2, "--at STEP")


def test_rewinds_from_the_shell(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.write("jobs.py", JOBS)
    terminal.write("mended", "")
    assert terminal.durable("run", "jobs.py::job", "--id", "one").code == 0
    plan = {"id": "one-rewind-1", "source": "one", "kept": 2, "begun_again": [], "queue": ""}
    assert terminal.durable("rewind", "one", "--at", "3", "--dry-run", "--json").data == [plan]
    assert terminal.durable("rewind", "one", "--at", "3").out == "[0, 1, 2, 3]\n"
    shown = terminal.durable("show", "one", "--json").data
    assert (shown["state"], shown["rewound_as"]) == ("completed", "one-rewind-1")
    assert "from       one" in terminal.durable("show", "one-rewind-1").out
    terminal.durable("rewind", "one", "--at", "3").failed(6, "one was rewound as one-rewind-1")
    bulk = terminal.durable("rewind", "--at", "2", "--function", "job", "--json")
    assert (bulk.code, [each["id"] for each in bulk.data]) == (1, ["one-rewind-1-rewind-1"])
    assert "one is not rewound: one was rewound" in bulk.err
    terminal.durable("rewind", "one").failed(2, "--at")
