"""Child executions on the command line: run, tree, answer, cancel (specs/children.md)."""

from __future__ import annotations

from pathlib import Path

from .cli_process import Terminal

JOBS = """
import durable

def double(n: int) -> int:
    return 2 * n

@durable.function
async def leaf(ctx: durable.Context, n: int) -> int:
    answer = await ctx.ask(f"more than {n}?", schema=int)
    return await ctx.run(double, n + answer)

@durable.function
async def root(ctx: durable.Context) -> list[int]:
    first, second = ctx.start(leaf, 1), ctx.start(leaf, 2, id="second")
    return [await first, await second]
"""


def test_children_from_the_shell(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.write("jobs.py", JOBS)
    asked = terminal.durable("run", "jobs.py::root", "--id", "r")
    assert asked.code == 4
    assert "r@@1:input:1" in asked.err
    assert "second:input:1" in asked.err
    lines = [line.split(": ")[0] for line in terminal.durable("tree", "r").out.splitlines()]
    assert lines == [
        "r root",
        "├ r@@1 child leaf",
        "│ └ r@@1:input:1 input input",
        "└ second child leaf",
        "  └ second:input:1 input input",
    ]
    assert terminal.durable("cancel", "r", "--json").data["state"] == "cancelled"
    assert {each["state"] for each in terminal.durable("list", "--json").data} == {"cancelled"}
