"""Attacks on standard capabilities: odd hosts, hostile servers, files that are none, SQL that
takes all there is, arguments that are no text. Denied or limited, in the audit, the engine unharmed."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import durable
from capabilities.standard.fetch import Fetch
from capabilities.standard.websocket import WebSocket
from tests.e2e import raw_http


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    async with durable.open(
        tmp_path / "work.db", durability="process", capabilities=[Fetch(_lookup), WebSocket(_lookup)]
    ) as engine:
        yield engine


async def _lookup(host: str, port: int) -> list[str]:
    """As the system's resolver: it takes numbers for addresses."""
    assert port
    try:
        return [socket.inet_ntoa(socket.inet_aton(host))]
    except OSError:
        return ["127.0.0.1"]


async def tried(session: durable.Session, calls: list[str], **options: Any) -> dict[str, str]:
    """What became of each call: its error, or "" and what it returned."""
    code = f"""
found = {{}}
for call in {calls!r}:
    try:
        found[call] = "=" + ascii(eval(call))
    except Exception as error:
        found[call] = f"{{type(error).__name__}}: {{error}}"
found"""
    result = await session.execute(code, **options)
    assert result.error is None, result.error
    found: dict[str, str] = result.value
    return found


async def denials(engine: durable.Engine, what: str) -> int:
    return sum(
        entry.times for entry in await engine.audit(limit=1_000) if (entry.what, entry.verdict) == (what, "denied")
    )


ODD_HOSTS = [
    "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "0", "0.0.0.0", "127.0.0.1.", "127.0.0.1", "[::]",
    "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1%25lo]",
    "[fec0::1]", "①②⑦.0.0.1", "127。0。0。1", "a..b", "a%00.b", "a%2eb", "-a", "*", "a b", "good.test@127.0.0.1",
    "localhost", "any.test", "any.test.",
]  # fmt: skip
"""Each is, for somebody, an address of this machine, or no host at all."""


@pytest.mark.parametrize("journal", [True, False])
async def test_whatever_a_private_address_is_called_it_is_not_reached(engine: durable.Engine, journal: bool) -> None:
    session = await engine.session("desk", permissions={"level": "trusted", "network": {"outbound": ["*:*"]}})
    async with raw_http.serving({"/": raw_http.HOSTILE["/latin"]}) as port:
        calls = [f"fetch('http://{host}:{port}/')" for host in ODD_HOSTS]
        calls += [f"websocket('ws://{host}:{port}/')" for host in ODD_HOSTS]
        found = await tried(session, calls, journal=journal)
    assert [call for call, text in found.items() if not text.startswith("PermissionError")] == []
    assert await denials(engine, "fetch") == len(ODD_HOSTS)
    assert await denials(engine, "websocket") == len(ODD_HOSTS)


async def test_a_host_is_decided_about_as_it_is_connected_to(engine: durable.Engine) -> None:
    """`straße` is one name to IDNA 2003 (strasse) and another to whoever connects (xn--strae-oqa)."""
    network = {"outbound": ["strasse.test:*", "bücher.test:*"], "private": ["127.0.0.1/32"]}
    session = await engine.session("desk", permissions={"level": "trusted", "network": network})
    async with raw_http.serving({"/": raw_http.HOSTILE["/latin"]}) as port:
        hosts = (
            "straße.test",
            "bücher.test",
            "BÜCHER.test",
            "strasse.test",
            "strasse.test@evil.test",
            "evilstrasse.test",
        )
        found = await tried(session, [f"fetch('http://{host}:{port}/')['status']" for host in hosts])
    denied = [text.startswith("PermissionError") for text in found.values()]
    assert denied == [True, False, False, False, True, True], found


async def test_hostile_servers_cost_what_is_allowed_and_no_more(engine: durable.Engine) -> None:
    network = {"outbound": ["*:*"], "private": ["127.0.0.1/32"], "seconds_max": 1, "bytes_max": 2**22}
    quotas = {"network_bytes_per_s": 10**9}
    session = await engine.session("desk", permissions={"level": "trusted", "network": network, "quotas": quotas})
    async with raw_http.serving(raw_http.HOSTILE) as port:
        at = f"http://a.test:{port}"
        found = await tried(session, [f"fetch('{at}{path}')" for path in raw_http.HOSTILE])
    for (path, (_, error)), text in zip(raw_http.HOSTILE.items(), found.values(), strict=True):
        assert text.startswith(error or "={'status': 200"), (path, text)
    assert "'text': '\\xe9'" in found[f"fetch('{at}/latin')"]
    assert (await session.execute("1 + 1")).value == 2


async def test_requests_say_what_fetch_says_and_nothing_else(engine: durable.Engine) -> None:
    session = await engine.session(
        "desk", permissions={"level": "trusted", "network": {"outbound": ["*:*"], "private": ["127.0.0.1/32"]}}
    )
    bad = [
        "headers={'A': 'x\\r\\nB: y'}", "headers={'A': 'x\\ny'}", "headers={'A\\r\\nB': 'x'}", "headers={'': 'x'}",
        "headers={'Host': 'evil'}", "headers={'content-LENGTH': '1'}", "headers={'Transfer-Encoding': 'chunked'}",
        "headers={'Expect': '100-continue'}", "headers={'A': 'x' * 10**5}", "headers={str(n): '' for n in range(101)}",
        "method='GET / HTTP/1.1\\r\\nX'", "method='CONNECT'", "method='trace'", "timeout=-1",
        "headers={'A': '\\ud800'}", "data='x' * (17 * 2**20), method='POST'",
    ]  # fmt: skip
    found = await tried(session, [f"fetch('http://a.test', {each})" for each in bad])
    assert [each for each, text in found.items() if not text.startswith("TypeError")] == []
    calls = [row for row in await engine.store.reads.children("desk@1") if ":fetch:" in row.id]
    assert {row.state for row in calls} == {"rejected"}


async def test_files_that_are_none_and_names_that_are_no_text(engine: durable.Engine, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside").write_text("secret")
    (root / "self").symlink_to("/proc/self")
    (root / "absolute").symlink_to(tmp_path / "outside")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(root / "sock"))
    (root / os.fsdecode(b"odd\xff")).write_text("x")
    everything: dict[str, Any] = {action: ["**"] for action in ("read", "write", "delete", "list")}
    session = await engine.session(
        "desk", permissions={"level": "standard", "filesystem": {"root": str(root), **everything}}
    )
    denied = [
        "read_file('self/environ')", "read_file('absolute')", "read_file('fifo')", "write_file('self/x', '')",
        "list_files('self')", "delete_file('self/x')", "read_file('a\\0b')", "read_file('../outside')",
        "read_file('/proc/self/environ')", "write_file('fifo/../../outside', '')",
    ]  # fmt: skip
    found = await tried(session, denied)
    assert [call for call, text in found.items() if not text.startswith("PermissionError")] == []
    refused = {entry.what for entry in await engine.audit() if entry.verdict == "denied"}
    assert refused == {"read_file", "write_file", "list_files", "delete_file"}
    failing = [
        "read_file('sock')", "read_file('\\ud800')", "write_file('\\ud800', '')", "write_file('x' * 300, '')",
        "write_file('a/' * 101 + 'b', '')", "write_file('x', '\\ud800')", "read_file('x' * 5_000)",
        "write_file('large', 'x' * (11 * 2**20))",
    ]  # fmt: skip
    found = await tried(session, failing)
    assert [call for call, text in found.items() if text.startswith("=")] == []
    found = await tried(session, ["list_files()", "write_file('fifo', 'mine')", "delete_file('absolute')"])
    assert "'odd\\ufffd'" in found["list_files()"]
    assert (tmp_path / "outside").read_text() == "secret"
    assert (root / "fifo").read_text() == "mine"  # it was replaced, and nobody wrote into it


async def test_files_fill_no_disk(engine: durable.Engine, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    filesystem = {"root": str(tmp_path / "files"), "write": ["**"], "delete": ["**"], "max_size_mb": 1}
    session = await engine.session("desk", permissions={"level": "standard", "filesystem": filesystem})
    code = """
import asyncio
async def put(n):
    try:
        return await write_file(f"d/{n}", "x" * 100_000)
    except RuntimeError as error:
        return str(error)
found = await asyncio.gather(*map(put, range(12)))
refused = [each for each in found if each != 100_000]
delete_file("d/" + str(found.index(100_000)))
[len(refused), refused[0], await put("again"), isinstance(await put("more"), str)]"""
    result = await session.execute(code)
    assert result.error is None, result.error
    count, said, again, more = result.value
    assert (count, again, more) == (2, 100_000, True)
    assert "ResourceExceeded: files:" in said
    assert "filesystem.max_size_mb" in said
    assert sum(path.stat().st_size for path in (tmp_path / "files" / "d").iterdir()) == 10 * 100_000


async def test_sql_takes_no_more_than_it_may_and_changes_nothing(engine: durable.Engine, tmp_path: Path) -> None:
    path = tmp_path / "sales.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE sold (n INTEGER)")
        connection.execute("INSERT INTO sold VALUES (1)")
    (tmp_path / "broken.db").write_bytes(path.read_bytes()[:2_000] + os.urandom(9_000))
    databases = {"sales": str(path), "broken": str(tmp_path / "broken.db")}
    session = await engine.session(
        "desk", permissions={"grant": ["query"], "query": {"databases": databases, "seconds_max": 1, "rows_max": 100}}
    )
    endless = "WITH RECURSIVE c(n, x) AS (SELECT 1, zeroblob({0}) UNION ALL SELECT n+1, zeroblob({0}) FROM c) "
    writing = (
        "DELETE FROM sold", f"ATTACH '{tmp_path}/new.db' AS y", "PRAGMA query_only=OFF", "CREATE TABLE t (x)",
        f"VACUUM INTO '{tmp_path}/new.db'", "SELECT load_extension('x')", "SELECT * FROM pragma_database_list",
    )  # fmt: skip
    expected = {
        **dict.fromkeys(writing, "PermissionError"),
        endless.format(1) + "SELECT count(*) FROM c": "TimeoutError",
        endless.format(9 * 2**20) + "SELECT n, length(x) FROM c ORDER BY x LIMIT 1": "",  # memory, time or disk
        endless.format(1) + "SELECT n FROM c": "RuntimeError: durable.ResourceExceeded: rows",
        "SELECT zeroblob(6 * 1024 * 1024) AS a, zeroblob(6 * 1024 * 1024) AS b": "RuntimeError: durable.ResourceExc",
        f"SELECT a.n AS '{'x' * 10**6}' FROM sold a, (SELECT 1{' UNION ALL SELECT 1' * 11})": "RuntimeError",
        "SELECT zeroblob(1000000000)": "ValueError: SQLite: string or blob too big",
        "SELECT 1; DROP TABLE sold": "ValueError: SQLite",
        "SELECT char(55296)": "ValueError: SQLite",
        "SELECT 9e999": "TypeError",
        "SELECT " + "(" * 5_000 + "1" + ")" * 5_000: "ValueError: SQLite",
    }
    found = await tried(session, [f"query('sales', {sql!r})" for sql in expected])
    for (sql, error), text in zip(expected.items(), found.values(), strict=True):
        assert text.startswith(error), (sql[:100], text[:200])
        assert not text.startswith("="), sql[:100]
    assert await denials(engine, "query") == len(writing)
    found = await tried(session, ["query('broken', 'SELECT * FROM sold')", "query('sales', 'SELECT n FROM sold')"])
    assert list(found.values())[1] == "=[{'n': 1}]"
    assert not (tmp_path / "new.db").exists()


async def test_programs_get_their_arguments_and_nothing_of_the_engine(
    engine: durable.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DURABLE_TEST_SECRET", "secret")
    session = await engine.session(
        "desk", permissions={"grant": ["process"], "process": {"programs": ["printf", "env", "ls", "missing"]}}
    )
    found = await tried(
        session,
        [
            "process('printf', ['--', '%s', '-v; $(id) `id` *'])['stdout']",
            "sorted(line.split('=')[0] for line in process('env')['stdout'].split())",
            "process('ls', ['/proc/self/fd'])['stdout'].split()",
            *(
                f"process({name})"
                for name in ("'/bin/printf'", "'../bin/printf'", "'-c'", "''", "'sh'", "'printf\\0x'")
            ),
            "process('missing')",
            "process('printf', ['a\\0b'])",
            "process('printf', ['x' * 10**5] * 30)",
        ],
    )
    texts = list(found.values())
    assert texts[0] == "='-v; $(id) `id` *'"
    assert texts[1] == "=['DURABLE_CALL_ID', 'HOME', 'LANG', 'PATH']"
    assert texts[2] == "=['0', '1', '2', '3']"
    assert [text.split(":")[0] for text in texts[3:9]] == ["PermissionError"] * 6
    assert [text.split(":")[0] for text in texts[9:]] == ["FileNotFoundError", "TypeError", "OSError"]


@pytest.mark.parametrize("journal", [True, False])
async def test_variables_of_the_engine_stay_there(
    engine: durable.Engine, monkeypatch: pytest.MonkeyPatch, journal: bool
) -> None:
    monkeypatch.setenv("DURABLE_WEBHOOK_SECRET", "secret of the engine")
    monkeypatch.setenv("TEST_A", "a")
    session = await engine.session("desk", level="unrestricted", grants=["env:*"])
    found = await tried(session, ["env('DURABLE_WEBHOOK_SECRET')", "env('TEST_A')"], journal=journal)
    refused, given = found.values()
    assert refused.startswith("PermissionError")
    assert "engine's own" in refused
    assert given == "='a'"
    assert await denials(engine, "env") == 1
    assert "secret of the engine" not in str(await engine.audit())


async def test_keys_and_names_of_any_text(engine: durable.Engine) -> None:
    session = await engine.session("desk", grants=["kv", "notify", "env:A*", "spawn_session", "run_function", "sleep"])
    bad = [
        "kv.set('a\\0b', 1)", "kv.set('', 1)", "kv.set('x' * 1_001, 1)", "kv.set('\\ud800', 1)",
        "kv.set('a', '\\ud800')", "kv.set('a', float('nan'))", "kv.set('a', 10**40)", "kv.get('a', namespace='../x')",
        "kv.get('a', namespace=None)",
        "kv.set('a', {1: 2, '1': 3})", "notify('x' * 1_001)", "notify('x', title='y' * 201)", "sleep(float('inf'))",
        "sleep(-1)", "spawn_session('../x')", "spawn_session('a\\0')",
    ]  # fmt: skip
    found = await tried(session, bad)
    assert [call for call, text in found.items() if not text.startswith("TypeError")] == []
    found = await tried(
        session, ["kv.set('\\U0001f600%_', [1])", "kv.list('\\U0001f600%_')", "kv.list('_')", "env('B')"]
    )
    assert [text.split(":")[0] for text in found.values()] == ["=None", "=['\\U0001f600%_']", "=[]", "PermissionError"]
