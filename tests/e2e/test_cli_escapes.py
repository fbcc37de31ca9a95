"""A stranger's text is shown without what a terminal would obey (L10)."""

from __future__ import annotations

from pathlib import Path

from .cli_process import Terminal

JOB = """
import durable

@durable.function
async def job(ctx: durable.Context) -> int:
    raise ValueError("\\x1b]0;title\\x07\\x9b31m")
"""


def test_no_escape_passes_in_reprs_and_tracebacks(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.write("jobs.py", JOB)
    code = "class R:\n  def __repr__(self): return '\\x1b[2Jgone\\x07'\nR()"
    shown = terminal.durable("--store", "work.db", "exec", "s", code)
    assert (shown.code, shown.out) == (0, "\\x1b[2Jgone\\x07\n")
    raised = terminal.durable("--store", "work.db", "exec", "s", "raise ValueError('\\x1b[31m')")
    failed = terminal.durable("--store", "work.db", "run", "jobs.py::job")
    for done, text in ((raised, "\\x1b[31m"), (failed, "\\x1b]0;title\\x07\\x9b31m")):
        assert done.code == 1
        assert text in done.err
        assert not {"\x1b", "\x07", "\x9b"} & set(done.err + done.out)
