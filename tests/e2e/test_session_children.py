"""Processes that cells start, by each of the ways, find the cells' functions and classes (specs/session.md, E12)."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

import durable
from durable.core.events import Event, WorkerStarted

DEFINED = """
import math, multiprocessing, random
from concurrent.futures import ProcessPoolExecutor
base = 100
class Point:
    def __init__(self, x): self.x = x
    def moved(self): return Point(self.x + base)
def area(p): return math.floor(p.moved().x)
def move(p): return p.moved()
state = None
def begin(value):
    global state
    state = value
def read(i): return state + i
def draw(_): return random.random()
"""

USES = {
    "a pool": ("with context.Pool(2) as pool: found = pool.map(area, [Point(1), Point(2)])\nfound", [101, 102]),
    "values of one's own classes": (
        "with context.Pool(1) as pool: (p,) = pool.map(move, [Point(1)])\n[type(p) is Point, p.x]",
        [True, 101],
    ),
    "what an initializer set": ("with context.Pool(1, begin, (5,)) as pool: found = pool.map(read, [1])\nfound", [6]),
    "an executor": (
        "with ProcessPoolExecutor(1, mp_context=context) as pool: found = list(pool.map(area, [Point(3)]))\nfound",
        [103],
    ),
    "a process": (
        "q = context.SimpleQueue()\ndef put(q): q.put(Point(7))\np = context.Process(target=put, args=(q,))\n"
        "p.start()\nfound = q.get().x\np.join()\n[found, p.exitcode]",
        [7, 0],
    ),
    "numbers of its own": (
        "random.seed(1)\nwith context.Pool(1) as a, context.Pool(1) as b: x, y = a.map(draw, [0]), b.map(draw, [0])\n"
        "x != y",
        True,
    ),
}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
async def test_children_find_what_cells_defined(tmp_path: Path, method: str) -> None:
    seen: list[Event] = []
    async with durable.open(tmp_path / "w.db", observer=seen.append) as engine:
        session = await engine.session("desk")
        await session.execute(DEFINED)
        for restored in (False, True):
            if restored:
                os.kill([event.pid for event in seen if isinstance(event, WorkerStarted)][-1], signal.SIGKILL)
            for what, (code, value) in USES.items():
                async with asyncio.timeout(120):
                    result = await session.execute(f"context = multiprocessing.get_context({method!r})\n{code}")
                assert result.error is None, (what, result.error.traceback)
                assert result.value == value, what
