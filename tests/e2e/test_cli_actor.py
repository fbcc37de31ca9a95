"""`durable actor`: a person sends, asks, looks, stops and restarts, beside an engine that serves the class."""

from __future__ import annotations

import asyncio
from pathlib import Path

import durable
from tests.e2e.cli_process import Done, Terminal


@durable.actor
class Kettle:
    cups: int = 0

    async def fill(self, ctx: durable.ActorContext, cups: int) -> int:
        self.cups += cups
        return self.cups


async def test_an_actor_from_the_command_line(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)

    async def typed(*words: str) -> Done:
        return await asyncio.to_thread(terminal.durable, "--store", "s.db", "actor", *words)

    async with durable.open(tmp_path / "s.db") as engine:
        assert (await typed("ask", "Kettle", "k", "fill", "2", "--json")).data == 2
        (await typed("ask", "Kettle", "k", "boil")).failed(2, "no method 'boil'", "it has fill")
        sent = (await typed("send", "Kettle", "k", "fill", "3", "--id", "once")).out.strip()
        assert await (await engine.get(sent)).result() == 5
        assert (await typed("state", "Kettle", "k", "--json")).data == {"cups": 5}
        assert (await typed("stop", "Kettle", "k", "--note", "cold")).code == 0
        (await typed("send", "Kettle", "k", "fill", "1")).failed(6, "is stopped (cold)", "actor restart")
        letters = (await typed("dead-letters", "Kettle", "k", "--json")).data
        assert [(each["method"], each["args"]) for each in letters] == [("fill", [1])]
        assert (await typed("restart", "Kettle", "k")).code == 0
        assert (await typed("tree")).out == "Kettle 'k' (running, 1 restart)\n"
        (await typed("delete", "Kettle", "k")).failed(6, "is running", "stop it")
        assert "deleted, with 1 dead letters" in (await typed("delete", "Kettle", "k", "--force")).err
        (await typed("show", "Kettle", "k")).failed(3, "actor list")
        assert (await typed("ask", "Kettle", "old", "fill", "1")).code == 0
        assert (await typed("stop", "Kettle", "old")).code == 0
        swept = await asyncio.to_thread(
            terminal.durable, "--store", "s.db", "gc", "--actors", "--older-than", "0s", "--json"
        )
        assert (swept.data["actors"], swept.data["letters"], await engine.actors.find()) == (1, 0, [])
        (await typed("show", "Kettle", "nobody")).failed(3, "nobody", "actor list")
