"""Executions chosen by tag, text and state: listed, counted, tagged, retried, cancelled, resumed (docs/search.md)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.warm_python import PYTHON

from .cli_process import Terminal

JOBS = """
import durable

def act(word):
    if word == "fail":
        raise ValueError("no stamps left")
    return word

@durable.function
async def letter(ctx, word):
    await ctx.tag(word=word)
    if word == "wait":
        await ctx.signal("stamp")
    return await ctx.run(act, word)
"""


MAKE = """
import asyncio
import durable
import jobs

async def main():
    async with durable.open() as engine:
        for word in ("a", "fail", "wait", "b"):
            execution = await engine.start(jobs.letter, word, id=word)
            while (change := engine.changed()) and await execution.state() not in ("completed", "failed", "waiting"):
                await change

asyncio.run(main())
"""


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    terminal = Terminal(tmp_path)
    terminal.write("jobs.py", JOBS)
    terminal.write("make.py", MAKE)
    subprocess.run([PYTHON, "make.py"], cwd=tmp_path, env=terminal.environment, check=True, timeout=60)
    return terminal


def ids(terminal: Terminal, *words: str) -> list[str]:
    return [each["id"] for each in terminal.durable("list", "--json", *words).data]


def test_lists_counts_and_pages(terminal: Terminal) -> None:
    assert ids(terminal) == ["b", "wait", "fail", "a"]
    assert ids(terminal, "--where", "word=fail") == ["fail"]
    assert ids(terminal, "--where", "word=fail", "--where", "word=a") == []
    assert ids(terminal, "--text", "STAMPS") == ["fail"]
    assert terminal.durable("list", "--count", "--json").data == {"completed": 2, "failed": 1, "waiting": 1}
    assert "completed" in terminal.durable("list", "--count", "--function", "letter").out
    terminal.durable("list", "--count", "--text", "x").failed(2, "--count counts what an index says")
    done = terminal.durable("list", "--limit", "2")
    assert "there may be more: --before wait" in done.err
    assert "for signal stamp" in done.out
    terminal.durable("list", "--where", "word").failed(2, "is not TAG=VALUE")


def test_many_are_tagged_retried_and_cancelled_after_a_preview(terminal: Terminal) -> None:
    done = terminal.durable("tag", "--state", "completed", "checked=yes", "--dry-run", "--json")
    assert [each["id"] for each in done.data] == ["b", "a"]
    assert ids(terminal, "--where", "checked=yes") == []
    assert "2 executions of 2 changed" in terminal.durable("tag", "--state", "completed", "checked=yes").err
    assert "0 executions of 2 changed" in terminal.durable("tag", "--state", "completed", "checked=yes").err
    assert terminal.durable("tag", "a", "checked=", "more=1", "--json").data == [
        {"id": "a", "tags": {"more": "1", "word": "a"}}
    ]
    assert ids(terminal, "--where", "checked=yes") == ["b"]
    terminal.durable("tag", "checked=yes").failed(2, "name an ID")
    terminal.durable("tag", "none", "x=1").failed(3, "none")
    terminal.durable("tag", "a").failed(2, "say which tags")

    planned = terminal.durable("retry", "--where", "word=fail", "--dry-run", "--json").data
    assert [each["source"] for each in planned] == ["fail"]
    assert len(ids(terminal)) == 4
    made = terminal.durable("retry", "--text", "stamps", "--json").data
    assert [each["id"] for each in made] == ["fail-retry-1"]

    shown = terminal.durable("cancel", "--function", "letter", "--dry-run", "--json").data
    assert {each["id"] for each in shown} == {"wait", "fail-retry-1"}
    assert ids(terminal, "--state", "cancelled") == []
    done = terminal.durable("cancel", "--where", "word=wait", "--reason", "enough", "--grace", "0", "--json")
    assert json.loads(done.out) == [{"id": "wait", "state": "cancelled"}]
    assert ids(terminal, "--state", "cancelled") == ["wait"]
    terminal.durable("cancel").failed(2, "name an ID, or choose")
    terminal.durable("cancel", "a", "--state", "failed").failed(2, "not both")


def test_what_is_chosen_of_what_is_halted_is_resumed(terminal: Terminal) -> None:
    assert terminal.durable("interrupt", "wait").code == 0
    shown = terminal.durable("resume", "--where", "word=wait", "--dry-run", "--json").data
    assert [(each["id"], each["state"]) for each in shown] == [("wait", "interrupted")]
    assert terminal.durable("resume", "--where", "word=a", "--json").data == []
    assert terminal.durable("resume", "--state", "interrupted", "--json").data == [{"id": "wait"}]
    assert ids(terminal, "--state", "interrupted") == []
