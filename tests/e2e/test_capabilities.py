"""Capabilities as code in a session calls them, and how they look to it. Real workers, real files."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import durable
from capabilities.registry import STANDARD
from durable.core.events import Event, Notified
from durable.core.standard_names import STANDARD_NAMES
from tests.waiting import first_prompt, until


class Item(BaseModel):
    sku: str
    price: float


@durable.capability
def lookup(sku: str, *, deep: bool = False) -> Item:
    """Find an item."""
    if sku == "gone":
        raise KeyError(sku)
    return Item(sku=sku, price=2.0 if deep else 1.0)


@durable.capability(kind="send_only")
async def tell(text: str) -> str:
    return text


@durable.capability
def stock(answer: str) -> int:
    return answer  # type: ignore[return-value]


@durable.capability
def leave() -> None:
    raise SystemExit(3)


@durable.capability
async def stop(how: str) -> None:
    raise {"exit": SystemExit, "interrupt": KeyboardInterrupt, "cancel": asyncio.CancelledError}[how]


@durable.function
async def double(ctx: durable.Context, n: int) -> int:
    if n < 0:
        raise ValueError("too small")
    await ctx.sleep(0.01)
    return 2 * n


EVENTS: list[Event] = []
GRANTS = [
    "lookup", "tell", "now", "uuid", "sleep", "kv", "read_file", "write_file", "list_files", "notify", "query",
    "process:printf", "process:sleep", "env:TEST_*", "run_function:double", "spawn_session",
]  # fmt: skip


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    async with durable.open(
        tmp_path / "work.db",
        durability="process",
        capabilities=[lookup, tell, stock, leave, stop],
        observer=EVENTS.append,
    ) as engine:
        yield engine


async def value(session: durable.Session, code: str, **options: Any) -> Any:
    result = await session.execute(code, **options)
    assert result.error is None, result.error
    return result.value


async def failure(session: durable.Session, code: str, **options: Any) -> str:
    result = await session.execute(code, **options)
    assert result.error is not None, result.value
    return f"{result.error.exception_type}: {result.error.exception_message}"


async def test_functions_of_the_host_look_and_fail_as_python_functions_do(engine: durable.Engine) -> None:
    session = await engine.session("desk", grants=GRANTS)
    assert await value(session, "lookup('a', deep=True)") == {"sku": "a", "price": 2.0}
    assert await value(session, "[await lookup('a'), (await lookup.aio('b'))['sku']]") == [
        {"sku": "a", "price": 1.0},
        "b",
    ]
    shown = (await session.execute("help(lookup); help(kv.set)")).stdout
    assert "lookup(sku: str, *, deep: bool = False) -> " in shown
    assert "Find an item." in shown
    assert "kv.set(key" in shown
    assert (await failure(session, "lookup()")).startswith("TypeError: lookup() missing a required argument: 'sku'")
    assert "lookup(): sku: Input should be a valid string" in await failure(session, "lookup(5)")
    assert await failure(session, "lookup('gone')") == "KeyError: 'gone'"
    assert await value(session, "tell('x')") is None
    ungranted = "NameError: name 'fetch' is not defined: the capability of that name is not granted to this session"
    assert await failure(session, "fetch('http://a')") == ungranted
    assert await failure(session, "fetched") == "NameError: name 'fetched' is not defined"
    assert STANDARD.keys() == STANDARD_NAMES
    assert "TypeError: kv is not called itself" in await failure(session, "kv()")
    keep = "keep = [lookup, kv.get]\nkeep[0]('k')['sku']"
    assert await value(session, keep) == "k"
    await engine.host.forget("desk")
    assert await value(session, "keep[0]('a')['sku'], keep[1]('nothing', 7)") == ["a", 7]


async def test_results_are_checked_too(engine: durable.Engine) -> None:
    session = await engine.session("desk", grants=["stock"])
    assert await value(session, "stock('7')") == 7
    for journal in (True, False):
        said = await failure(session, "stock('many')", journal=journal)
        assert said.startswith("TypeError: stock() returned what its annotation does not allow: result: "), said


async def test_a_capability_that_would_end_the_process_ends_its_call_alone(engine: durable.Engine) -> None:
    session = await engine.session("desk", grants=["leave", "stop", "stock"])
    for call, raised in (
        ("leave()", "leave raised SystemExit(3)"),
        ("stop('exit')", "stop raised SystemExit()"),
        ("stop('interrupt')", "stop raised KeyboardInterrupt()"),
        ("stop('cancel')", "stop raised CancelledError()"),
    ):
        for journal in (True, False):
            assert await failure(session, call, journal=journal) == f"RuntimeError: {raised}"
    assert await value(session, "stock('1')") == 1


async def test_what_cannot_be_granted_is_refused_before_there_is_a_session(engine: durable.Engine) -> None:
    for options, reason in (
        ({"grants": "lookup"}, r"write grants=\['lookup'\]"),
        ({"grants": ["nothing"]}, "no capability nothing"),
        ({"grants": [durable.capability(str, name="lookup")]}, "a grant is a text: write 'lookup'"),
        ({"permissions": {"network": {"outbond": []}}}, "network.outbond: an unknown key"),
        ({"grants": ["fetch:http://a.com"]}, r"is no grant: 'http://a.com' is no host: a name, an address, "),
        ({"permissions": {"rates": {"fetsch": 1}}}, "no capability fetsch"),
        ({"permissions": {"query": {"databases": {"a": "postgres://b/c"}}}}, "only SQLite files"),
    ):
        with pytest.raises(durable.BadArguments, match=reason):
            await engine.session("desk", **options)
    session = await engine.session("desk")
    for change in (
        session.grant("lookup", seconds=0),
        session.elevate("trusted", seconds=-1),
        session.reload({"grant": ["nothing"]}),
        session.reload({"rates": {"fetsch": 1}}),
    ):
        with pytest.raises(durable.BadArguments):
            await change
    assert not await engine.audit()


def test_a_function_is_no_person_and_no_timer() -> None:
    for kind in ("scheduled", "human_in_the_loop", "anything"):
        with pytest.raises(durable.BadArguments, match="a function is request_response"):
            durable.capability(name="clerk", kind=kind)(lambda: None)  # type: ignore[call-overload]


async def test_what_is_recorded_is_the_same_again_and_sleeping_holds_nothing(engine: durable.Engine) -> None:
    session = await engine.session("desk", grants=GRANTS)
    code = "t = now(); u = uuid()\nsleep(0.02)\nq = input('on?')\n[t, u, now() >= t]"
    execution = await session.submit(code)
    prompt = await first_prompt(engine, "on?")
    recorded = {row.id: row.value for row in await engine.store.reads.children(execution.id)}
    await engine.host.forget("desk")
    await engine.answer(prompt.id, "yes")
    t, u, later = (await session.result(execution.id)).value
    assert later
    assert recorded[f"exec:{execution.id}:now:1"] == t
    assert recorded[f"exec:{execution.id}:uuid:1"] == u
    timer = await engine.store.reads.get_promise(f"exec:{execution.id}:sleep:1")
    assert timer is not None
    assert timer.tags["resonate:timer"] == "true"
    assert timer.settled_at == timer.timeout_at


async def test_values_files_programs_queries_and_variables(
    engine: durable.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_A", "a")
    session = await engine.session("desk", grants=GRANTS)
    code = "kv.set('a', {'x': 1}); kv.set('ab', 2)\n"
    code += "found = [kv.get('a'), kv.get('z', 0), kv.list('a'), kv.exists('ab')]\n"
    code += "[*found, kv.delete('ab'), kv.delete('ab'), kv.usage()['keys']]"
    assert await value(session, code) == [{"x": 1}, 0, ["a", "ab"], True, True, False, 1]
    assert "PermissionError" in await failure(session, "kv.get('a', namespace='shared')")
    code = (
        "write_file('d/x', 'hé', encoding='utf-16'); [read_file('d/x', encoding='utf-16'), list_files(recursive=True)]"
    )
    assert await value(session, code) == ["hé", ["d/", "d/x"]]
    assert (await failure(session, "read_file('../work.db')")).startswith("PermissionError")
    assert await value(session, "env('TEST_A')") == "a"
    assert "PermissionError" in await failure(session, "env('HOME')")
    ran = await value(session, "process('printf', ['%s|', 'a b', '$HOME', ';ls'])")
    assert ran == {"exit_code": 0, "stdout": "a b|$HOME|;ls|", "stderr": "", "truncated": False}
    assert "PermissionError" in await failure(session, "process('sh', ['-c', 'id'])")
    assert "TimeoutError" in await failure(session, "process('sleep', ['60'], timeout=0.1)")
    await value(session, "notify('done', title='job')")
    assert [(e.message, e.title, e.call) for e in EVENTS if isinstance(e, Notified)][-1] == (
        "done", "job", "exec:desk@10:notify:1",
    )  # fmt: skip


async def test_queries_only_read(engine: durable.Engine, tmp_path: Path) -> None:
    path = tmp_path / "sales.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE sold (what TEXT, n INTEGER, raw BLOB)")
        connection.execute("INSERT INTO sold VALUES ('a', 1, x'00ff')")
    connection.close()
    databases = {"sales": f"sqlite:///{path}"}
    session = await engine.session("desk", permissions={"grant": ["query"], "query": {"databases": databases}})
    beside = tmp_path / "sales.toml"
    beside.write_text(
        "[permissions]\ngrant = ['query']\n[permissions.query.databases]\na = 'sqlite:///sales.db'\nb = 'sales.db'"
    )
    other = await engine.session("other", permissions=beside)  # whatever the working directory is
    assert await value(other, "[query(name, 'SELECT n FROM sold') for name in 'ab']") == [[{"n": 1}]] * 2
    code = "query('sales', 'SELECT * FROM sold WHERE n = ?', [1])"
    assert await value(session, code) == [{"what": "a", "n": 1, "raw": "AP8="}]
    for sql in ("DELETE FROM sold", "ATTACH '/tmp/x' AS y", "PRAGMA journal_mode=DELETE", "CREATE TABLE t (x)"):
        assert "PermissionError" in await failure(session, f"query('sales', {sql!r})"), sql
    assert "PermissionError" in await failure(session, "query('other', 'SELECT 1')")
    endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c) SELECT count(*) FROM c"
    bounded = {"grant": ["query"], "query": {"databases": databases, "seconds_max": 0.3}}
    hurried = await engine.session("hurried", permissions=bounded)
    assert "TimeoutError" in await failure(hurried, f"query('sales', {endless!r})")
    assert "ValueError: SQLite" in await failure(session, "query('sales', 'SELEKT')")
    assert (await failure(session, "input('?')")).startswith("PermissionError")  # a manifest grants it, or nobody does


async def test_functions_and_sessions_of_ones_own(engine: durable.Engine) -> None:
    session = await engine.session("desk", grants=GRANTS)
    assert await value(session, "run_function('double', 4)") == 8
    assert "ValueError: too small" in await failure(session, "run_function('double', -1)")
    started = await value(session, "run_function.start('double', n=5)")
    assert started == "desk@3-run_function-1"
    assert await (await engine.get(started)).result(10) == 10
    assert "LookupError" in await failure(session, "run_function('nothing_of_that_name', 1)")
    code = "s = spawn_session('child', grants=['lookup'])\nspawn_session.execute(s, 'x = 20 + y; x', inputs={'y': 1})"
    assert await value(session, code) == 21
    assert await value(session, "spawn_session.execute('child', \"x + lookup('a')['price']\")") == 22.0
    assert "NameError" in await failure(session, "spawn_session.execute('child', \"kv.get('a')\")")
    assert "PermissionError" in await failure(session, "spawn_session('other', grants=['fetch'])")
    assert "PermissionError" in await failure(session, "spawn_session('other', grants=['run_function:other'])")
    await engine.session("foreign")
    assert "foreign" in await failure(session, "spawn_session('foreign')")
    assert "PermissionError" in await failure(session, "spawn_session.execute('foreign', '1')")


async def test_a_spawned_session_may_do_what_was_chosen_and_no_more(engine: durable.Engine) -> None:
    manifest = {"level": "trusted", "trust": "trusted", "grant": ["env:HO*"], "environment": {"read": ["LANG"]}}
    session = await engine.session("desk", permissions=manifest)
    await value(session, "spawn_session('same')\nspawn_session('few', grants=['now', 'env:HO*'])")
    assert await value(session, "spawn_session.execute('same', 'uuid() and kv.get(\"a\")')") is None
    assert await value(session, "spawn_session.execute('few', 'now() > 0 and bool(env(\"HOME\"))')") is True
    for call in ("uuid()", "kv.get('a')", "ask('?')", "lookup('a')"):
        assert "NameError" in await failure(session, f"spawn_session.execute('few', {call!r})"), call
    assert "PermissionError" in await failure(session, "spawn_session.execute('few', 'env(\"PATH\")')")
    assert "'level:unrestricted'" in await failure(session, "spawn_session('more', grants=['level:unrestricted'])")
    assert "LookupError: no session 'none'" in await failure(session, "spawn_session.execute('none', '1')")


async def test_code_without_a_journal_may_call_what_needs_no_record(engine: durable.Engine) -> None:
    session = await engine.session("desk", grants=GRANTS)
    assert await value(session, "[lookup('a')['sku'], kv.set('k', 1), kv.get('k')]", journal=False) == ["a", None, 1]
    for code in ("input('?')", "sleep(1)", "run_function('double', 1)", "spawn_session('x')", "env('HOME')"):
        assert "PermissionError" in await failure(session, code, journal=False), code
    assert await engine.prompts() == []
    assert await value(session, "lookup('b')['sku']") == "b"


async def test_calls_made_together_each_get_their_own_answer(engine: durable.Engine) -> None:
    session = await engine.session("desk", grants=GRANTS)
    code = "import asyncio\n[i['sku'] for i in await asyncio.gather(*(lookup.aio(str(n)) for n in range(200)))]"
    assert await value(session, code) == [str(n) for n in range(200)]


async def test_a_replay_with_other_arguments_halts(engine: durable.Engine, tmp_path: Path) -> None:
    session = await engine.session("desk", grants=GRANTS)
    path = tmp_path / "sku"
    path.write_text("a")
    code = f"x = lookup(open({str(path)!r}).read()), input('on?')\nx[0]['sku']"
    execution = await session.submit(code)
    prompt = await first_prompt(engine, "on?")
    await asyncio.to_thread(path.write_text, "b")
    await engine.host.forget("desk")
    await engine.answer(prompt.id, "yes")

    async def halted() -> Any:
        row = await engine.store.reads.get_execution(execution.id)
        return row if row is not None and row.state == "interrupted" else None

    row = await until(engine, halted)
    assert f"exec:{execution.id}:lookup:1" in row.note
    await asyncio.to_thread(path.write_text, "a")
    await engine.resume(execution.id)
    assert (await session.result(execution.id)).value == "a"
