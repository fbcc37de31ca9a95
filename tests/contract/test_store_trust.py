"""Whose a store is, before anything of it is read (specs/store.md, O1-O5). Only root makes files of others."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import durable
from durable.http.access.tokens import token_for
from durable.store import owner_check
from durable.store.sqlite.store import Store

STRANGER = 12_345

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user; run it as root")


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv(owner_check.VARIABLE, raising=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A whole store, with a token and blobs."""
    store = tmp_path / "place" / "work.db"

    async def make() -> None:
        async with durable.open(store, durability="process") as engine:
            await (await engine.session("s")).execute("import os\nx = os.urandom(300_000)")

    asyncio.run(make())
    token_for(Path(f"{store}.token"))
    return store


async def _open(path: Path) -> None:
    store = await Store.open(path)
    await store.close()


def foreign_log(path: Path) -> None:
    Path(f"{path}-wal").touch()
    os.chown(f"{path}-wal", STRANGER, STRANGER)


def foreign_link(path: Path) -> None:
    os.rename(f"{path}.key", f"{path}.other")
    os.symlink(f"{path}.other", f"{path}.key")
    os.chown(f"{path}.key", STRANGER, STRANGER, follow_symlinks=False)


FOREIGN: dict[str, Callable[[Path], None]] = {
    "the file": lambda path: os.chown(path, STRANGER, STRANGER),
    "the key": lambda path: os.chown(f"{path}.key", STRANGER, STRANGER),
    "the token": lambda path: os.chown(f"{path}.token", STRANGER, STRANGER),
    "the directory": lambda path: os.chown(f"{path}.d", STRANGER, STRANGER),
    "the blobs": lambda path: os.chown(f"{path}.d/blobs", STRANGER, STRANGER),
    "a log": foreign_log,
    "a link to a key": foreign_link,
}

LOOSE: dict[str, Callable[[Path], None]] = {
    "a file that others write": lambda path: os.chmod(path, 0o666),
    "a file that a group writes": lambda path: os.chmod(path, 0o660),
    "a key that others read": lambda path: os.chmod(f"{path}.key", 0o644),
    "a key that a group reads": lambda path: os.chmod(f"{path}.key", 0o640),
    "a token that others read": lambda path: os.chmod(f"{path}.token", 0o604),
    "a directory that others write": lambda path: os.chmod(f"{path}.d", 0o777),
    "blobs that others write": lambda path: os.chmod(f"{path}.d/blobs", 0o777),
    "a place that others write": lambda path: os.chmod(path.parent, 0o777),
}


@root_only
@pytest.mark.parametrize("what", FOREIGN)
def test_a_store_of_another_user_is_refused_and_its_owner_named(path: Path, what: str) -> None:
    FOREIGN[what](path)
    with pytest.raises(durable.StoreForeign, match=f"belongs to the user {STRANGER}.*--trust-store") as refused:
        asyncio.run(_open(path))
    assert refused.value.owner == f"the user {STRANGER}"
    assert refused.value.code == "STORE_FOREIGN"


@pytest.mark.parametrize("what", LOOSE)
def test_a_store_that_others_can_change_is_refused(path: Path, what: str) -> None:
    LOOSE[what](path)
    with pytest.raises(durable.StoreForeign, match=r"can be (written|read) by others"):
        asyncio.run(_open(path))


def test_a_place_where_others_cannot_rename_is_fine(path: Path) -> None:
    path.parent.chmod(0o1777)
    asyncio.run(_open(path))


@pytest.mark.parametrize("value", ["1", "{path}", "elsewhere:{path}"])
def test_trust_by_the_environment(path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    path.chmod(0o666)
    monkeypatch.setenv(owner_check.VARIABLE, value.format(path=path))
    asyncio.run(_open(path))
    monkeypatch.setenv(owner_check.VARIABLE, "elsewhere")
    with pytest.raises(durable.StoreForeign):
        asyncio.run(_open(path))


@root_only
def test_a_new_store_takes_over_nothing_that_lies_there(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    Path(f"{path}.d").mkdir()
    os.chown(f"{path}.d", STRANGER, STRANGER)
    with pytest.raises(durable.StoreForeign):
        asyncio.run(_open(path))
    assert not path.exists()
    Path(f"{path}.d").rmdir()
    Path(f"{path}.token").write_text("a token that a stranger knows\n")
    os.chown(f"{path}.token", STRANGER, STRANGER)
    with pytest.raises(durable.StoreForeign):
        token_for(Path(f"{path}.token"))


def test_a_token_file_that_others_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    token, made = token_for(file)
    assert made
    assert token_for(file) == (token, False)
    file.chmod(0o640)
    with pytest.raises(durable.StoreForeign, match="can be read by others"):
        token_for(file)
