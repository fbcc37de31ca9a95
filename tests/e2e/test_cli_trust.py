"""Commands on a store that another user prepared (specs/store.md, O1-O5)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from .cli_process import Terminal

STRANGER = 12_345

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user; run it as root")

COMMANDS = (
    *("ps", "show x", "wait x", "answer x 1", "resume", "session list", "session vars s", "checkpoint list s"),
    *("fork s t", "schedule list", "gc", "backup copy.db", "exec s 1", "run jobs.py::job", "serve --port 0"),
)
"""Each that opens the store in a way of its own."""


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    found = Terminal(tmp_path)
    found.environment["XDG_STATE_HOME"] = str(tmp_path / "state")
    found.write("jobs.py", "import durable\n@durable.function\nasync def job(ctx: durable.Context) -> int: return 1\n")
    assert found.durable("--store", "work.db", "exec", "s", "import os; x = os.urandom(300_000)").code == 0
    return found


def give_away(directory: Path) -> None:
    for file in [*directory.glob("work.db*"), *(directory / "work.db.d").rglob("*")]:
        os.chown(file, STRANGER, STRANGER)


def contents(directory: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in directory.rglob("work.db*") if file.is_file()}


@pytest.mark.timeout(400)
def test_every_command_refuses_and_leaves_everything_as_it_was(terminal: Terminal) -> None:
    give_away(terminal.directory)
    before = contents(terminal.directory)
    for command in COMMANDS:
        done = terminal.durable("--store", "work.db", *command.split())
        done.failed(1, f"belongs to the user {STRANGER}", "--trust-store", "DURABLE_TRUST_STORE")
    done = terminal.durable("--store", "work.db", "doctor")
    assert done.code == 1
    assert f"belongs to the user {STRANGER}" in done.out
    assert contents(terminal.directory) == before


def test_a_trusted_store_is_opened_as_long_as_it_is_the_same_user_s(terminal: Terminal) -> None:
    give_away(terminal.directory)
    listing = ("--store", "work.db", "list")
    terminal.durable(*listing).failed(1, "belongs to")
    assert terminal.durable(*listing, "--trust-store").code == 0
    assert terminal.durable(*listing).code == 0
    recorded = terminal.directory / "state" / "durable" / "trusted-stores.json"
    assert stat.S_IMODE(recorded.stat().st_mode) == 0o600
    os.chown(terminal.directory / "work.db.key", STRANGER + 1, STRANGER)
    terminal.durable(*listing).failed(1, "belongs to")
    os.chown(terminal.directory / "work.db.key", STRANGER, STRANGER)
    os.chown(recorded, STRANGER, STRANGER)  # whoever wrote this may not say whom root trusts
    terminal.durable(*listing).failed(1, "belongs to")
