"""Targets that name a store; nothing else makes a directory or shows a password (specs/store.md, Files)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import durable
from durable.core.errors import Conflict, EngineClosed, StoreError
from durable.store.postgres.address import address_of
from durable.store.sqlite.store import Store
from durable.store.target import is_url, parsed, repeatable, shown

WRONG = [
    "mysql://user:hunter2@host/db",
    "postgresql://user:hunter2@host/db?schema=no%20name",
    "postgresql+asyncpg://user:hunter2@host/db",
    "POSTGRES://user:hunter2@host:hunter2/db",
    "postgres:/user:hunter2@host/db",
    "redis://:hunter2@host",
    "file:///hunter2.db",
    "ftp://user:hunter2@host/x.db",
    "s3://hunter2/state.db",
    "sqlite://hunter2.db",
    "sqlite://",
    "sqlite:///",
    "sqlite:///hunter2.db?mode=ro",
    "sqlite:hunter2/..",
    "http:/host/hunter2",
    "http://",
    "http://user:hunter2@host:8080",
    "https://hunter2@host",
    "http://host:hunter2",
    "http://host:99999",
    "http://[::1/hunter2",
    "http://host:80/?token=hunter2",
    "",
    "  ",
]


@pytest.mark.parametrize("target", [each for each in WRONG if not each.startswith("sqlite:h")])
async def test_what_is_no_store_is_refused_at_once(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for attempt in (durable.open, parsed, is_url):
        with pytest.raises(StoreError) as caught:
            attempt(target)
        assert "hunter2" not in str(caught.value)
        assert "hunter2" not in repr(caught.value.__context__)
    with pytest.raises(StoreError):
        await Store.open(target)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("mysql://user:hunter2@host/db", "no mysql:// database"),
        ("postgres://user:hunter2@/db?host=%2Fno%2Fsuch%2Fdirectory", "postgresql://user@/db"),
    ],
)
def test_the_command_line_refuses_it_too(store: str, said: str, tmp_path: Path) -> None:
    """All at once: each waits some seconds for a server that may come back."""
    durable = [sys.executable, "-m", "durable.cli", "--store", store]
    commands = [
        subprocess.Popen([*durable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        for words in (["list"], ["gc"], ["doctor"], ["serve"], ["backup", "b.db"])
    ]
    for command in commands:
        out, error = command.communicate(timeout=60)
        assert command.returncode != 0
        assert said in error
        assert "hunter2" not in out + error
        assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("sqlite:///a/b.db", "a/b.db"),
        ("sqlite:////a/b.db", "/a/b.db"),
        ("SQLite:///b.db", "b.db"),
        ("b.db", "b.db"),
        ("a:b.db", "a:b.db"),
        ("./postgres://b.db", "postgres:/b.db"),
        (Path("/x/y"), "/x/y"),
    ],
)
def test_a_path_is_a_path(target: str | os.PathLike[str], path: str) -> None:
    assert parsed(target) == Path(path)
    assert not is_url(target)


def test_a_url_of_a_server() -> None:
    assert parsed("HTTPS://Host:1/base/") == "https://Host:1/base"
    assert is_url("http://[::1]:8")
    assert not is_url(":memory:")


def test_a_url_of_a_database_is_shown_without_its_secrets() -> None:
    url = "postgres://us%40er:hunter2@[::1]:7/db?sslmode=require&sslpassword=hunter2&schema=mine&password=hunter2"
    assert (shown(url), repeatable(url)) == (
        "postgresql://us%40er@[::1]:7/db?schema=mine",
        "postgresql://us%40er@[::1]:7/db?sslmode=require&schema=mine",
    )
    assert repeatable(repeatable(url)) == repeatable(url)
    assert repeatable("work.db") == shown("work.db") == "work.db"
    assert "hunter2" not in repr(address_of(url))
    assert address_of(url).pg_dump_url == "postgresql://us%40er@[::1]:7/db?sslmode=require"


async def test_sqlite_urls_open(tmp_path: Path) -> None:
    async with durable.open(f"sqlite:///{tmp_path}/a/work.db", serve=False) as engine:
        assert await engine.prompts() == []
    assert (tmp_path / "a" / "work.db").is_file()


async def test_an_engine_that_is_not_open_says_so(tmp_path: Path) -> None:
    @durable.function(name="edges")
    async def edges(ctx: durable.Context) -> int:
        return 1

    engine = durable.open(tmp_path / "work.db")
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: engine.start(edges),
        lambda: engine.get("x"),
        lambda: engine.cancel("x"),
        lambda: engine.interrupt("x"),
        lambda: engine.resume("x"),
        engine.prompts,
        lambda: engine.answer("exec:x:input:1", 1),
        lambda: engine.session("s"),
        lambda: engine.fork("s", "t"),
        engine.audit,
        lambda: engine.skip_checkpoint(1),
        lambda: engine.sandbox.run("1", language="javascript"),
    ]
    for call in calls:
        with pytest.raises(EngineClosed, match=r"not open; use `async with durable.open"):
            await call()
    with pytest.raises(EngineClosed, match="not open"):
        engine.on_prompt(print)
    with pytest.raises(EngineClosed, match="not open"):
        engine.permissions()
    with pytest.raises(AttributeError, match="no attribute 'strat'"):
        engine.strat  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []
    async with engine:
        with pytest.raises(Conflict, match="open already"):
            await engine.open()
        assert await (await engine.start(edges)).result(30) == 1
    with pytest.raises(EngineClosed, match="make another"):
        await engine.open()


async def test_an_engine_that_could_not_be_opened_can_be_opened_later(tmp_path: Path) -> None:
    (tmp_path / "work.db").mkdir()
    engine = durable.open(tmp_path / "work.db")
    with pytest.raises(StoreError, match="is a directory"):
        await engine.open()
    (tmp_path / "work.db").rmdir()
    async with engine:
        assert await engine.prompts() == []
