"""What a person at a terminal sees: a question asked in place, tables."""

import os
import pty
import subprocess
from pathlib import Path

from tests.e2e.cli_process import COMMAND, Terminal

ASKS = """
import durable

@durable.function
async def asks(ctx) -> str:
    return "you said " + await ctx.ask("Tea or coffee?", choices=["tea", "coffee"])
"""


def test_a_question_is_asked_on_the_terminal_until_the_answer_fits(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.write("jobs.py", ASKS)
    person, tty = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "run", "jobs.py::asks", "--id", "a"],
        cwd=tmp_path,
        env=terminal.environment,
        stdin=tty,
        stderr=tty,
        stdout=subprocess.PIPE,
        text=True,
    )
    os.close(tty)
    try:
        assert "one of: tea, coffee" in read_until(person, "> ")
        os.write(person, b"water\n")
        assert "choose one of: tea, coffee" in read_until(person, "> ")
        os.write(person, b"tea\n")
        out, _ = process.communicate(timeout=30)
        assert (process.returncode, out) == (0, "you said tea\n")
    finally:
        process.kill()
        process.communicate()
        os.close(person)


def test_tables_are_drawn_on_a_terminal_and_show_no_control_characters(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.write("jobs.py", ASKS.replace("Tea or", "\\x1b[31mTea or"))
    assert terminal.durable("run", "jobs.py::asks", "--id", "a").code == 4
    person, tty = pty.openpty()
    subprocess.run([*COMMAND, "inbox"], cwd=tmp_path, env=terminal.environment, stdout=tty, check=True, timeout=30)
    os.close(tty)
    shown = read_until(person, "coffee?")
    os.close(person)
    assert "exec:a:input:1" in shown
    assert "\\x1b[31mTea" in shown
    assert "\x1b[31m" not in shown


def read_until(descriptor: int, text: str) -> str:
    seen = ""
    while text not in seen:
        seen += os.read(descriptor, 4096).decode()
    return seen
