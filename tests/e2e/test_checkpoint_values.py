"""Kinds of values that were lost or changed once, over the ways in which a session's namespace comes back: its worker
is killed, its engine is killed in the middle of a cell, it is parked while a person thinks, a transaction is rolled
back.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import durable
from durable.core.events import WorkerEnded, WorkerStarted
from durable.core.limits import PARKED_S
from tests.value_kinds import KINDS
from tests.waiting import first_prompt
from tests.warm_python import PYTHON

PRELUDE = "import warnings; warnings.simplefilter('ignore')\n"

SPOIL = """
def spoil(value):
    kind = type(value)
    for base in (list, dict, set):
        if issubclass(kind, base) and kind.__module__ != "builtins":
            base.clear(value)
    if issubclass(kind, type):
        type.__setattr__(value, "spoilt", 1)
    elif kind.__module__ == "__main__":
        for base in kind.__mro__:
            if type(vars(base).get("__dict__")).__name__ == "getset_descriptor":
                vars(base)["__dict__"].__get__(value).clear()
for name, value in list(globals().items()):
    if not name.startswith("_") and name not in ("In", "Out", "spoil"):
        try:
            spoil(value)
        except TypeError:  # a class that C code guards
            pass
        del globals()[name]
"""
"""Changes whatever can be changed of every variable, and takes its name away."""


def checking(checks: list[str]) -> str:
    return "[check for check in " + repr(checks) + " if not eval(check, globals())]"


class Workers:
    """An observer: how many workers each session had, and the moment when one of them ends."""

    def __init__(self) -> None:
        self.started: Counter[str] = Counter()
        self.ended: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def __call__(self, event: object) -> None:
        if isinstance(event, WorkerEnded):
            self.ended[event.session].set()
        if isinstance(event, WorkerStarted):
            self.started[event.session] += 1


async def worker_killed(session: durable.Session, code: str, workers: Workers) -> None:
    (await session.execute(PRELUDE + code)).unwrap()
    pid = (await session.execute("import os as system; system.getpid()")).unwrap()
    os.kill(pid, signal.SIGKILL)
    assert (await session.execute("system.getpid()")).unwrap() != pid


async def parked(session: durable.Session, code: str, workers: Workers) -> None:
    asks = PRELUDE + code + "\nimport os as system; before = system.getpid(); ask('go on?'); system.getpid() != before"
    execution = await session.submit(asks)
    prompt = await first_prompt(session._engine)
    async with asyncio.timeout(60):
        await workers.ended[session.name].wait()
    await session._engine.answer(prompt.id, "yes")
    assert (await session.result(execution.id)).error is None
    assert workers.started[session.name] == 2


async def rolled_back(session: durable.Session, code: str, workers: Workers) -> None:
    (await session.execute(PRELUDE + code)).unwrap()
    result = await session.execute(SPOIL, transaction="rollback_always")
    assert result.error is None
    assert result.rollback is not None
    assert result.rollback.kept == ()


WAYS = {"worker killed": worker_killed, "parked": parked, "rolled back": rolled_back}


@asynccontextmanager
async def engine_killed(place: Path, code: str) -> AsyncIterator[durable.Session]:
    pipe = place.with_suffix(".pipe")
    os.mkfifo(pipe)
    blocks = f"""
import os as system, threading
if system.path.exists({str(pipe)!r}):
    with open({str(pipe)!r}, 'w') as made:
        made.write('made')
    threading.Event().wait()
"""
    cell = PRELUDE + code + "\nmade_in = __import__('os').getpid()" + blocks + "made_in != system.getpid()"
    engine = await asyncio.create_subprocess_exec(PYTHON, "-m", "tests.e2e.value_job", str(place), cell)
    async with asyncio.timeout(120):
        assert await asyncio.to_thread(pipe.read_text) == "made"
    pipe.unlink()
    engine.kill()
    await engine.wait()
    async with durable.open(place) as again:
        session = await again.session("desk")
        result = await session.result("desk@1")
        assert result.error is None
        assert result.value is True, "the statements before the one that was cut ran again"
        yield session


async def differences(session: durable.Session, checks: list[str]) -> object:
    """What is not as it was: checks that are false, or the error of one."""
    result = await session.execute(checking(checks))
    return result.error or result.value


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", WAYS)
async def test_comes_back(way: str, tmp_path: Path) -> None:
    failed: dict[str, object] = {}
    workers = Workers()
    async with durable.open(
        tmp_path / "work.db", observer=workers, parked=0 if way == "parked" else PARKED_S
    ) as engine:
        for number, (kind, (code, checks)) in enumerate(KINDS.items()):
            session = await engine.session(f"desk-{number}")
            await WAYS[way](session, code, workers)
            if found := await differences(session, checks):
                failed[kind] = found
            await session.close()
    assert failed == {}


@pytest.mark.parametrize("kind", ["enums", "exceptions", "circles through hashes"])
async def test_comes_back_when_its_engine_is_killed(kind: str, tmp_path: Path) -> None:
    code, checks = KINDS[kind]
    async with engine_killed(tmp_path / "work.db", code) as session:
        assert not await differences(session, checks)


@asynccontextmanager
async def lost(way: str, place: Path, code: str) -> AsyncIterator[durable.Session]:
    """A session whose worker or engine was killed when the code had run."""
    if way == "engine killed":
        async with engine_killed(place, code) as session:
            yield session
        return
    async with durable.open(place) as engine:
        session = await engine.session("desk")
        await worker_killed(session, code, Workers())
        yield session


@pytest.mark.parametrize("way", ["worker killed", "engine killed"])
async def test_a_placeholder_is_named_and_says_what_it_was(way: str, tmp_path: Path) -> None:
    code = "import sqlite3\nrows = {'all': [1], 'connection': sqlite3.connect(':memory:')}"
    async with lost(way, tmp_path / "work.db", code) as session:
        result = await session.execute("rows['connection'].execute('select 1')")
        assert result.error is not None
        assert "open it again by its path" in str(result.error)
        assert (await session.execute("rows['all']")).value == [1]
        newest = (await session.checkpoints())[-1]
        shown = await session._engine.checkpoints_of("desk").show(newest.id)
        assert [(entry.name, entry.kind) for entry in shown.lost] == [("rows['connection']", "sqlite3.Connection")]


async def test_a_rolled_back_transaction_keeps_the_connection_itself(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        session = await engine.session("desk")
        await session.execute("import sqlite3\nrows = {'all': [1], 'connection': sqlite3.connect(':memory:')}")
        result = await session.execute("rows['all'].append(2)", transaction="rollback_always")
        assert result.rollback is not None
        assert [name for name, _why in result.rollback.kept] == ["rows['connection']"]
        checked = "[rows['all'], rows['connection'].execute('select 1').fetchall()]"
        assert (await session.execute(checked)).value == [[1], [[1]]]
