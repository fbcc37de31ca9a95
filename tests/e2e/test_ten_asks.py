"""Ten questions, answered one by one, the engine killed after each answer: ten answers in order, each asked once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import durable
from tests.e2e.ten_asks import CELL, COUNT, asks_ten
from tests.waiting import first_prompt
from tests.warm_python import PYTHON

ENGINE = (
    PYTHON,
    "-c",
    "import asyncio, sys; from tests.e2e import ten_asks; asyncio.run(ten_asks.serve(sys.argv[1]))",
)


async def asked(client: durable.Engine, execution: str) -> list[str]:
    rows = await client.store.reads.children(execution)
    return [row.id for row in rows if row.tags.get("durable:capability") == "input"]


async def test_ten_answers_over_ten_engines(tmp_path: Path) -> None:
    store = tmp_path / "work.db"
    async with durable.open(store, serve=False, durability="process") as client:
        function = await client.start(asks_ten, id="f")
        cell = await (await client.session("desk")).submit(CELL)
        for n in range(COUNT):
            engine = await asyncio.create_subprocess_exec(*ENGINE, str(store))
            try:
                for who in ("function", "cell"):
                    prompt = await first_prompt(client, f"{who} {n}?")
                    await client.answer(prompt.id, f"{who} said {n}")
            finally:
                engine.kill()
                await engine.wait()
        engine = await asyncio.create_subprocess_exec(*ENGINE, str(store))
        try:
            assert await function.result(timeout=60) == [f"function said {n}" for n in range(COUNT)]
            assert (await cell.result(timeout=60))["value"] == [f"cell said {n}" for n in range(COUNT)]
        finally:
            engine.kill()
            await engine.wait()
        for execution in ("f", cell.id):
            assert len(await asked(client, execution)) == COUNT
