"""`durable signal` as a process: sent before and while an execution waits, once a key, JSON or text."""

from __future__ import annotations

from pathlib import Path

from .cli_process import Terminal, read_errors_until

JOBS = """
import durable

@durable.function
async def two(ctx: durable.Context) -> list:
    return [await ctx.signal("go"), await ctx.signal("go")]
"""


def test_signals_from_the_shell(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.write("jobs.py", JOBS)
    terminal.durable("signal", "one", "go").failed(3, "there is no store")
    with terminal.running("run", "jobs.py::two", "--id", "one") as process:
        read_errors_until(process, "one waits for the signal 'go': durable signal one go VALUE")
        assert [(step["kind"], step["state"]) for step in terminal.durable("show", "one", "--json").data["steps"]] == [
            ("signal", "waiting")
        ]
        assert terminal.durable("signal", "one", "go", '{"n": 1}', "--key", "k", "--json").data == {
            "id": "one",
            "signal": "go",
            "key": "k",
            "sent": True,
        }
        again = terminal.durable("signal", "one", "go", "2", "--key", "k")
        assert (again.code, again.out) == (0, "")
        assert "under this key before" in again.err
        assert terminal.durable("signal", "one", "go", "words").code == 0
        assert process.wait(60) == 0
    assert terminal.durable("result", "one", "--json").data == [{"n": 1}, "words"]
    terminal.durable("signal", "one", "go").failed(6, "has ended")
    terminal.durable("signal", "other", "go").failed(3, "other")


def test_signals_with_the_start_of_a_run(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.write("jobs.py", JOBS)
    run = ("run", "jobs.py::two", "--id", "one")
    for wrong in ("=1", "x" * 300 + "=1", ""):
        terminal.durable(*run, "--signal", wrong).failed(2, "is not NAME=JSON")
    terminal.durable("show", "one").failed(3)
    with terminal.running(*run, "--signal", 'go={"n": 1}') as process:
        read_errors_until(process, "one waits for the signal 'go': durable signal one go VALUE")
    again = terminal.durable(*run, "--signal", 'go={"n": 1}', "--signal", 'go={"n": 1}', "--json")
    assert again.code == 0, "the first of the two was sent before, the second was not"
    assert terminal.durable("result", "one", "--json").data == [{"n": 1}, {"n": 1}]
    ended = terminal.durable(*run, "--signal", "go=late")
    assert ended.code == 0
    assert "one has ended before: no signal is sent" in ended.err
