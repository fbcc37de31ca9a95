"""Modules that an engine does without until they are needed, so that it starts soon: no time is measured here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HEAVY = {
    "aiohttp",
    "attr",
    "email",
    "http.client",
    "importlib.metadata",
    "pydantic",
    "pydantic_core",
    "resonate.codec",
    "resonate.core",
    "resonate.resonate",
    "rich",
    "tempfile",
    *(["urllib.parse"] if sys.version_info >= (3, 13) else ()),  # pathlib imports it before
    "zipfile",
}
"""Modules of a store on a URL, of `fetch`, webhooks, questions, models and manifests."""

FIRST = """
import asyncio, json, sys
import durable

found = {}

def look(name):
    found[name] = sorted(sys.modules)

@durable.function(version=1)
async def whole(ctx: durable.Context, number: int, words: list[str]) -> dict[str, int]:
    return {word: await ctx.run(added, number, word) for word in words}

def added(number: int, word: str) -> int:
    return number + len(word)

async def main():
    durable.open
    look("imported")
    async with durable.open("s.db", durability="process") as engine:
        look("open")
        execution = await engine.start(whole, 1, ["a", "bc"])
        assert await execution.result() == {"a": 2, "bc": 3}
        look("function")
        session = await engine.session("desk")
        assert (await session.execute("1 + 1")).value == 2
        look("cell")

asyncio.run(main())
print(json.dumps(found))
"""

OURS = ("durable", "bridge", "capabilities", "checkpoint")
OURS_MAX = {"imported": 247, "open": 270, "function": 270, "cell": 272}
"""Modules of ours that are loaded by then."""


def test_an_engine_imports_nothing_heavy_before_its_first_function_and_cell_have_ended(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FIRST]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    for moment, loaded in json.loads(done.stdout).items():
        assert sorted(HEAVY.intersection(loaded)) == [], moment
        ours = [name for name in loaded if name.partition(".")[0] in OURS]
        assert len(ours) <= OURS_MAX[moment], (moment, len(ours))


DATACLASSES = """
import dataclasses
made = []
process = dataclasses._process_class

def counted(cls, *options):
    made.append(f"{cls.__module__}.{cls.__qualname__}")
    return process(cls, *options)

dataclasses._process_class = counted
import durable
durable.open
print(*[each for each in made if each.partition(".")[0] in ("durable", "bridge", "capabilities", "checkpoint")])
"""
DATACLASSES_MAX = 7
"""Of what is imported with an engine: each is half a millisecond, a record (durable/core/frozen_record.py) is not."""


def test_an_engines_import_makes_few_dataclasses() -> None:
    done = subprocess.run([sys.executable, "-c", DATACLASSES], capture_output=True, text=True, check=True)
    made = done.stdout.split()
    assert 0 < len(made) <= DATACLASSES_MAX, made
