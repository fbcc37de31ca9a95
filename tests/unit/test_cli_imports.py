"""Modules that commands which only look do without, so that they start soon."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HELP = {"asyncio", "sqlite3", "msgspec", "capabilities.sandbox.errors", "durable.core.events"}
LOOKING = {
    "resonate",
    "pydantic",
    "rich",
    "zoneinfo",
    "zipfile",
    "tempfile",
    "bridge.host.proc_vitals",
    "capabilities.sandbox.errors",
    "durable.core.events",
    "durable.functions.failures",
    "durable.store.operations.request_table",
    "durable.store.sqlite.store",
    *(["urllib.parse"] if sys.version_info >= (3, 13) else ()),  # pathlib imports it before
}


MAKE = """
import asyncio
from durable.store.sqlite.store import Store

async def make():
    await (await Store.open("s.db")).close()

asyncio.run(make())
"""
RUN = "import sys\nfrom durable.cli.command_group import run\nrun({})\nprint('LOADED', *sys.modules)"


OURS = ("durable", "bridge", "capabilities", "checkpoint")
HELP_MODULES_MAX, LOOKING_MODULES_MAX = 8, 66
"""Modules of ours that are loaded: a start's time goes by them, and on a busy machine cannot be measured."""


@pytest.mark.parametrize(
    ("words", "spared", "modules_max"),
    [
        (["--help"], HELP, HELP_MODULES_MAX),
        (["--store", "s.db", "list"], LOOKING, LOOKING_MODULES_MAX),
    ],
)
def test_a_command_imports_no_more_than_it_uses(
    words: list[str], spared: set[str], modules_max: int, tmp_path: Path
) -> None:
    for text in (MAKE, RUN.format(words)):
        command = [sys.executable, "-c", text]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.rpartition("LOADED ")[2].split())
    assert sorted(loaded & spared) == []
    ours = [name for name in loaded if name.partition(".")[0] in OURS]
    assert len(ours) <= modules_max, sorted(ours)
