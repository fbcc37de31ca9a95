"""Namespace, transactions, displays, modes and the adapter through the API (specs/namespace.md)."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import durable
from durable.core.errors import BadArguments, ResourceExceeded
from durable.core.events import Event, WorkerEnded, WorkerStarted


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    async with durable.open(tmp_path / "work.db") as opened:
        yield opened


async def test_the_namespace_is_read_changed_and_cleared(engine: durable.Engine) -> None:
    session = await engine.session("desk")
    await session.execute("a = 1\nb = b'x'\nimport math\ndef f():\n    return a")
    assert await session.update_namespace({"a": 2, "c": [3]}) == {"a": 2, "c": [3]}
    assert await session.update_namespace({"a": None, "d": 4}, strategy="smart") == {"d": 4}
    assert await session.namespace() == {"a": 2, "c": [3], "d": 4}
    assert await session.namespace("c") == {"c": [3]}
    found = {one.name: one for one in await session.variables()}
    assert set(found) == {"a", "b", "c", "d", "f", "math"}
    assert (found["c"].type, found["c"].repr, found["c"].size > 0) == ("list", "[3]", True)
    sources = await session.sources()
    assert "return a" in sources.functions["f"]
    assert sources.imports == ("import math",)
    for wrong in ({"_": 1}, {"x": object()}, {1: 1}):
        with pytest.raises(TypeError):
            await session.update_namespace(wrong)  # type: ignore[arg-type]
    with pytest.raises(BadArguments, match="'b'"):
        await session.namespace("b")
    with pytest.raises(ResourceExceeded) as over:
        await session.update_namespace({"x": "y" * 100}, limits=durable.NamespaceLimits(value_bytes_max=50))
    assert (over.value.resource, over.value.limit, over.value.used) == ("value", 50, 102)
    assert "a" in await session.clear_namespace()
    assert await session.namespace() == {}


async def test_what_was_changed_from_outside_survives_the_worker(tmp_path: Path) -> None:
    seen: list[Event] = []
    async with durable.open(tmp_path / "work.db", observer=seen.append) as engine:
        session = await engine.session("desk")
        await session.update_namespace({"a": [1]})
        worker = next(event.pid for event in seen if isinstance(event, WorkerStarted))
        os.kill(worker, signal.SIGKILL)
        assert (await session.execute("a + [2]")).value == [1, 2]
        assert any(isinstance(event, WorkerEnded) for event in seen)
    async with durable.open(tmp_path / "work.db") as engine:
        assert await (await engine.session("desk")).namespace() == {"a": [1]}


@pytest.mark.parametrize("journal", [True, False])
async def test_transactions(engine: durable.Engine, journal: bool) -> None:
    session = await engine.session("desk")
    await session.execute("a = [1]\ng = iter(())")
    failed = await session.execute("a.append(2)\n1 / 0", transaction="rollback_on_failure", journal=journal)
    assert isinstance(failed.error, ZeroDivisionError)
    assert failed.rollback == durable.RolledBack(("a",), ())
    tried = await session.execute("a.append(2)\nlen(a)", transaction="rollback_always", journal=journal)
    assert (tried.value, tried.rollback) == (2, durable.RolledBack(("a",), ()))
    assert await session.namespace() == {"a": [1]}
    kept = await session.execute("a.append(2)", transaction="rollback_on_failure", journal=journal)
    assert kept.rollback is None
    assert await session.namespace() == {"a": [1, 2]}
    with pytest.raises(BadArguments, match="no transaction"):
        await session.execute("1", transaction="none", journal=journal)
    with pytest.raises(BadArguments, match="checkpoint"):
        await session.execute("1", transaction="rollback_always", checkpoint="statement")


async def test_a_transaction_whose_worker_dies_begins_again(tmp_path: Path) -> None:
    died = tmp_path / "died"
    async with durable.open(tmp_path / "work.db") as engine:
        session = await engine.session("desk")
        await session.execute("a = [1]")
        code = (
            "import os, pathlib\na.append(2)\nprint('said')\n"
            f"died = pathlib.Path({str(died)!r})\n"
            "if not died.exists():\n    died.touch()\n    os.kill(os.getpid(), 9)\nlen(a)"
        )
        found = await session.execute(code, transaction="rollback_always")
        assert (found.value, found.stdout) == (2, "said\n")
        assert await session.namespace() == {"a": [1]}


async def test_displays_and_modes_are_recorded(engine: durable.Engine) -> None:
    session = await engine.session("desk")
    code = (
        "import time\nclass F:\n    def _repr_html_(self): return '<i>f</i>'\n    def __repr__(self): return 'f'\n"
        "print('a')\ndisplay(F())\nprint('b')\ntime.sleep(0)"
    )
    events = [event async for event in session.stream(code)]
    shown = [event for event in events if isinstance(event, durable.DisplayEvent)]
    assert [event.data for event in shown] == [{"text/plain": "f", "text/html": "<i>f</i>"}]
    assert shown[0].offset == 2
    *_, result = events
    assert isinstance(result, durable.Result)
    assert (result.stdout, [one.text for one in result.displays]) == ("a\nb\n", ["f"])
    assert result.mode == "blocking_sync"
    assert "time.sleep" in result.warnings[0]
    again = await session.result(result.id)
    assert again == result
    quick = await session.execute("display(F())\nawait missing()", journal=False)
    assert (quick.mode, [one.text for one in quick.displays]) == ("top_level_await", ["f"])
    assert isinstance(quick.error, NameError)


async def test_the_adapter_journals_what_has_to_be(engine: durable.Engine) -> None:
    session = await engine.session("desk")
    adapter = durable.MigrationAdapter(session)
    ids = [
        (await adapter.execute(code)).id for code in ("import time as t", "1 + 1", "t.sleep(0)", "await t.missing()")
    ]
    assert ids == ["", "", "desk@1", "desk@2"]
    assert (adapter.journaled, adapter.unjournaled) == (2, 2)
    assert adapter.journals("name = input()")
    assert not adapter.journals("async def f(): await g()")
    assert adapter.detection.calls == {"time.sleep": 1}
    assert (await durable.MigrationAdapter(session, "resonate").execute("1")).id == "desk@3"
    assert (await durable.MigrationAdapter(session, "legacy").execute("t.sleep(0)")).id == ""
    with pytest.raises(ValueError, match="legacy"):
        durable.MigrationAdapter(session, "none")  # type: ignore[arg-type]


async def test_sources_and_tracebacks_after_a_restore(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        session = await engine.session("desk")
        await session.execute(
            "import dataclasses, inspect\n@dataclasses.dataclass\nclass P:\n"
            "    x: int  # P's\n    class I: y = 1  # I's"
        )
        await session.execute("def f():\n    return missing  # f's")
        await session.execute("def g():\n    return missing  # g's", journal=False)
        await session.checkpoint()
    async with durable.open(tmp_path / "work.db") as engine:
        session = await engine.session("desk")
        for expression, comment in (("P", "P's"), ("P.I", "I's"), ("f", "f's"), ("g", "g's")):
            found = await session.execute(f"inspect.getsource({expression})", journal=False)
            assert f"# {comment}" in found.unwrap()
        failed = await session.execute("g()")
        assert failed.error is not None
        assert "# g's" in failed.error.traceback
