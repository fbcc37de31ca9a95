"""The command line as a person at a terminal sees it: a question asked in place, tables."""

import os
import pty
import subprocess
from pathlib import Path

from tests.e2e.cli_process import COMMAND, Terminal
from tests.e2e.cli_process import read_until as read_lines_until

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


FORM = """
import durable
from pydantic import BaseModel

class Order(BaseModel):
    sku: str
    count: int
    gift: bool = False

@durable.function
async def orders(ctx) -> str:
    order = await ctx.ask("What?", schema=Order, initial={"sku": "a1"}, to=["ana"])
    which = await ctx.choose("Which?", ["x", "y", "z"], many=True)
    ok = await ctx.approve("Buy?", quorum=2)
    return f"{order} {which} {ok.by} {ok.why}"
"""


def test_a_form_asks_field_by_field_and_the_rest_is_answered_in_every_way(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.write("jobs.py", FORM)
    terminal.durable("run", "jobs.py::orders", "--id", "o").failed(4, "What?")
    with terminal.running("inbox", "--watch") as watching:
        assert read_lines_until(watching, "exec:o:input:1").endswith("What?\n")
    terminal.durable("answer", "o", "--field", "sku=b", "--field", "count=x", "--by", "ana").failed(2, "count: 'x'")
    terminal.durable("answer", "o", "--field", "sku=b", "--field", "count=1", "--by", "joe").failed(6, "asks ana")
    person, tty = pty.openpty()
    command = [*COMMAND, "answer", "o", "--by", "ana"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=terminal.environment, stdin=tty, stderr=tty, stdout=subprocess.PIPE, text=True
    )
    os.close(tty)
    try:
        assert "asks ana: What?" in read_until(person, "Sku (string) [a1]: ")
        os.write(person, b"\n")
        read_until(person, "Count (integer): ")
        os.write(person, b"many\n")
        read_until(person, "Gift (y/n) [false]: ")
        os.write(person, b"y\n")
        assert "count: 'many' is not of type 'integer'" in read_until(person, "Sku (string) [a1]: ")
        for answer, label in ((b"\n", "Count"), (b"3\n", "Gift"), (b"y\n", "Which?")):
            os.write(person, answer)
            read_until(person, label)
    finally:
        process.kill()
        process.communicate()
        os.close(person)
    terminal.durable("answer", "o", "--choose", "4").failed(2, "number from 1 to 3")
    terminal.durable("answer", "o", "--choose", "1", "--choose", "3").failed(4, "Buy?")
    said = terminal.durable("answer", "exec:o:input:3", "yes", "--by", "ben")
    assert (said.code, "waits for others" in said.err) == (0, True)
    terminal.durable("answer", "exec:o:input:3", "yes", "--by", "ben").failed(6, "ben answered")
    done = terminal.durable(
        "answer", "exec:o:input:3", "--json", "-", "--by", "eve", stdin='{"approve": true, "why": "cheap"}'
    )
    assert (done.code, done.out) == (0, "sku='a1' count=3 gift=True ['x', 'z'] eve cheap\n"), done


def read_until(descriptor: int, text: str) -> str:
    seen = ""
    while text not in seen:
        seen += os.read(descriptor, 4096).decode()
    return seen
