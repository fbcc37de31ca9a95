"""A person at `durable repl`, on a real terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.cli_process import COMMAND, Terminal

_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|[=>])")


class Person:
    """Types, and reads what the terminal shows, without its colours and movements."""

    def __init__(self, descriptor: int, process: subprocess.Popen[bytes]) -> None:
        self._descriptor = descriptor
        self.process = process
        self._seen = ""

    def types(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def sees(self, pattern: str) -> str:
        """Read until the pattern is shown; what stood before it and itself is used up."""
        while (found := re.search(pattern, self._seen)) is None:
            try:
                data = os.read(self._descriptor, 65536)
            except OSError:
                data = b""
            assert data, f"it ended without {pattern!r}: {self._seen!r}"
            self._seen += _ESCAPES.sub("", data.decode())
        text, self._seen = self._seen[: found.end()], self._seen[found.end() :]
        return text


@contextmanager
def at_prompt(terminal: Terminal, *words: str) -> Iterator[Person]:
    own, tty = pty.openpty()
    environment = {
        **terminal.environment,
        "TERM": "xterm",
        "PROMPT_TOOLKIT_NO_CPR": "1",
        "XDG_STATE_HOME": str(terminal.directory / "state"),
    }
    process = subprocess.Popen(
        [*COMMAND, "repl", *words],
        cwd=terminal.directory,
        env=environment,
        stdin=tty,
        stdout=tty,
        stderr=tty,
        start_new_session=True,
        preexec_fn=lambda: _take_terminal(),
    )
    os.close(tty)
    try:
        yield Person(own, process)
    finally:
        process.kill()
        process.wait()
        os.close(own)


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


RUNS = "print('g' + 'o') or any(0 for _ in __import__('itertools').count())\r"


def test_a_conversation(terminal: Terminal) -> None:
    with at_prompt(terminal, "desk") as person:
        person.sees(">>>")
        person.types("number = 41; print('k' + 'ept')\r")
        person.sees("kept\r")
        person.sees(">>>")
        person.types("numb\t")
        person.sees("er")  # the only name that fits
        person.types(" + 1\r")
        person.sees(r"\n42\r")
        person.types("for n in range(2):\rprint('line', n)\r\r")
        person.sees(r"\nline 0\s+line 1\r")
        person.types("1/0\r")
        person.sees("ZeroDivisionError: division by zero\r")
        person.types("input('Na' + 'me? ')\r")
        person.sees(r"Name\?\s*\r\n> ")
        person.types("Ada\r")
        person.sees("'Ada'\r")
        person.types(RUNS)
        person.sees("go\r")
        person.types("\x03")
        person.sees("KeyboardInterrupt\r")
        person.sees(">>>")
        person.types("number\r")
        person.sees(r"\n41\r")
        person.sees(">>>")
        person.types("\x04")
        person.sees("desk stays")
        assert person.process.wait(timeout=30) == 0
    assert terminal.durable("exec", "desk", "number").out == "41\n"
    history = terminal.directory / "state" / "durable" / "repl_history"
    assert "+1/0" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0


def test_pasted_code_is_indented_once(terminal: Terminal) -> None:
    with at_prompt(terminal, "desk") as person:
        person.sees(">>>")
        person.types("def half(x):\r    if x:\r        return x / 2\r    return 0\r\r")
        person.sees(">>>")
        person.types("'is', half(3), half(0)\r")
        person.sees(r"\('is', 1.5, 0\)\r")
        person.sees(">>>")
        person.types("\x04")
        assert person.process.wait(timeout=30) == 0


def test_a_script_goes_on_by_the_rules_of_its_language(terminal: Terminal) -> None:
    with at_prompt(terminal, "--language", "javascript", "script") as person:
        person.sees(">>>")
        person.types("function twice(n) {\rreturn n * 2\r}\r")
        person.sees(">>>")
        person.types("console.log('is', [1, 2].map(\rtwice)); twice(21)\r")
        person.sees(r"\nis \[ ?2, 4 ?\]\r")
        person.sees(r"\n42\r")
        person.sees(">>>")
        person.types("\x04")
        person.sees("script stays")
        assert person.process.wait(timeout=30) == 0


def test_code_that_ignores_ctrl_c_is_ended_and_the_variables_stay(terminal: Terminal) -> None:
    with at_prompt(terminal, "desk") as person:
        person.sees(">>>")
        person.types("kept = 1; import signal; _ = signal.signal(signal.SIGINT, signal.SIG_IGN)\r")
        person.types(RUNS)
        person.sees("go\r")
        person.types("\x03")
        person.sees("Ctrl-C again ends its worker")
        person.types("\x03")
        person.sees("ended by Ctrl-C")
        person.sees(">>>")
        person.types("kept\r")
        person.sees(r"\n1\r")
        person.sees(">>>")
        person.types("\x04")
        assert person.process.wait(timeout=30) == 0


def test_sessions_are_made_shown_restarted_and_closed(terminal: Terminal) -> None:
    terminal.durable("repl", "desk").failed(2, "durable exec desk -")  # there is no terminal
    code = "import math; a = 1; g = (n for n in [])"
    made = terminal.durable("exec", "desk", code, "--limit", "memory=512MiB", "--limit", "cpu=30s")
    assert made.code == 0, made.err
    shown = terminal.durable("session", "show", "desk", "--json").data
    assert (shown["profile"], shown["limits"]) == ("open", {"memory": 512 * 2**20, "cpu": 30.0})
    terminal.durable("exec", "desk", "1", "--limit", "memory=1GiB").failed(6, "close it to make it anew")
    terminal.durable("exec", "new", "1", "--limit", "memory=lots").failed(2, "memory=256MiB")
    terminal.durable("exec", "new", "1", "--grant", "nothing").failed(2, "nothing")
    found = terminal.durable("session", "vars", "desk", "--json").data
    assert "a" in found["names"]
    assert [name["name"] for name in found["lost"]] == ["g"]
    (variable,) = found["variables"]
    assert (variable["name"], variable["type"], variable["repr"]) == ("a", "int", "1")
    assert variable["size"] > 0
    rows = terminal.durable("session", "vars", "desk").out.splitlines()
    assert rows[0].split("\t") == ["NAME", "TYPE", "BYTES", "VALUE"]
    assert [row.split("\t")[:2] for row in rows[1:]] == [["a", "int"], ["math", "module"], ["g", "generator"]]
    assert "no worker" in terminal.durable("session", "restart", "desk").err
    assert terminal.durable("session", "restart", "desk", "--clear").code == 0
    assert "NameError" in terminal.durable("exec", "desk", "a").err
    assert "desk is closed" in terminal.durable("session", "close", "desk").err
    for word, name in (("show", "desk"), ("vars", "other"), ("restart", "desk"), ("close", "other")):
        terminal.durable("session", word, name).failed(3, f"no session '{name}'")
