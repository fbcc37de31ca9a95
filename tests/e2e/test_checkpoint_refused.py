"""A checkpoint that is not what was stored: refused by name, nothing changed, the next older whole one offered."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

import durable
from checkpoint.format.signature import sign, unsigned
from durable.core.errors import CheckpointError
from durable.engine.engine import Engine
from durable.store.sqlite.file import load_key
from tests.e2e.test_checkpoint_travel import cli
from tests.waiting import in_state

MAKE = "small, big = [{}], __import__('random').Random({}).randbytes(200_000)"


def change(store: Path, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(store)) as connection, connection:
        assert connection.execute(sql, values).rowcount > 0


def value(store: Path, sql: str, *values: object) -> bytes:
    with closing(sqlite3.connect(store)) as connection:
        found: bytes = connection.execute(sql, values).fetchone()[0]
        return found


async def made(engine: Engine) -> list[int]:
    """Three checkpoints that share nothing but what never changes."""
    session = await engine.session("desk")
    numbers = []
    for n in range(3):
        await session.execute(MAKE.format(n, n))
        numbers.append(await session.checkpoint(f"l{n}"))
    return numbers


def resigned(store: Path, checkpoint: int, **fields: object) -> None:
    envelope = value(store, "SELECT manifest FROM checkpoints WHERE id=?", checkpoint)
    body = msgspec.msgpack.encode({**msgspec.msgpack.decode(unsigned(envelope)), **fields})
    change(store, "UPDATE checkpoints SET manifest=? WHERE id=?", sign(body, load_key(store)), checkpoint)


def own_chunks(store: Path, checkpoint: int) -> list[str]:
    """Chunks that no earlier checkpoint with a label uses."""
    with closing(sqlite3.connect(store)) as connection:
        sql = (
            "SELECT digest FROM checkpoint_uses WHERE checkpoint=?1 AND digest NOT IN"
            " (SELECT digest FROM checkpoint_uses JOIN checkpoints ON id=checkpoint WHERE id<?1 AND label IS NOT NULL)"
        )
        return [row[0] for row in connection.execute(sql, (checkpoint,))]


def blob(store: Path, checkpoint: int) -> Path:
    found = [path for path in Path(f"{store}.d").glob("blobs/??/*") if path.name in own_chunks(store, checkpoint)]
    assert found
    return found[0]


def row(store: Path, checkpoint: int) -> str:
    with closing(sqlite3.connect(store)) as connection:
        rows = {each[0] for each in connection.execute("SELECT digest FROM chunks")}
    return next(each for each in own_chunks(store, checkpoint) if each in rows)


def other_key(store: Path, checkpoint: int) -> None:
    envelope = value(store, "SELECT manifest FROM checkpoints WHERE id=?", checkpoint)
    change(store, "UPDATE checkpoints SET manifest=? WHERE id=?", sign(unsigned(envelope), b"o" * 32), checkpoint)


DAMAGES: dict[str, tuple[Callable[[Path, int], object], str]] = {
    "a missing blob": (lambda store, n: blob(store, n).unlink(), "is missing from the store"),
    "a changed blob": (lambda store, n: blob(store, n).write_bytes(b"x" * 200_000), "was changed"),
    "a cut blob": (lambda store, n: blob(store, n).write_bytes(blob(store, n).read_bytes()[:-1]), "was changed"),
    "a missing row": (
        lambda store, n: change(store, "DELETE FROM chunks WHERE digest=?", row(store, n)), "is missing from the store",
    ),
    "a changed row": (
        lambda store, n: change(store, "UPDATE chunks SET data=x'00' WHERE digest=?", row(store, n)), "was changed",
    ),
    "a newer format": (lambda store, n: resigned(store, n, format="9", later=[1]), "has format '9'"),
    "another key": (other_key, "signed by another store"),
    "a stricter profile": (lambda store, n: resigned(store, n, profile="isolated"), "is not restored into an 'open'"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
async def test_it_is_refused_and_an_older_one_is_offered(tmp_path: Path, damage: str) -> None:
    store = tmp_path / "work.db"
    do, message = DAMAGES[damage]
    async with durable.open(store) as engine:
        first, second, third = await made(engine)
        session = await engine.session("desk")
        do(store, second)
        known = [info.id for info in await session.checkpoints()]
        with pytest.raises(CheckpointError, match=message) as refused:
            await session.restore(second)
        assert f"checkpoint {second} of session 'desk' is refused" in str(refused.value)
        older = refused.value.older
        assert older is not None
        assert first <= older < second
        assert f"`durable checkpoint restore desk {older}`" in str(refused.value)
        assert (await session.execute("small", journal=False)).value == [2]
        assert [info.id for info in await session.checkpoints()] == known
        assert third in known
        assert "small" in (await session.restore(older)).restored
        assert (await session.execute("small", journal=False)).value == [0]


async def test_another_environment_is_refused_by_its_differences_unless_it_is_overridden(tmp_path: Path) -> None:
    store = tmp_path / "work.db"
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        await session.execute("import numpy as np; a = np.arange(3); n = 1\ndef f(): return n")
        number = await session.checkpoint("then")
    envelope = value(store, "SELECT manifest FROM checkpoints WHERE id=?", number)
    contents = msgspec.msgpack.decode(unsigned(envelope))["contents"]
    assert contents["packages"].keys() == {"numpy"}
    other = {"numpy": "0.9.1", "not_there": "3.2"}
    resigned(store, number, contents={**contents, "python": "3.1", "packages": other})
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        execution = await session.submit("int(a.sum())")
        await in_state(engine, execution, "interrupted")
        note = (await execution.info()).note or ""
        for part in (
            "Python 3.1, here 3.",
            "numpy 0.9.1, here",
            "not_there 3.2, not installed",
            "override_environment",
        ):
            assert part in note
    assert cli(store, "resume", execution.id).returncode == 1
    overridden = cli(store, "resume", execution.id, "--override-environment")
    assert (overridden.returncode, overridden.stdout) == (0, "3\n"), overridden.stderr
    resigned(store, number, contents={**contents, "python": "3.1", "packages": other})
    async with durable.open(store, override_environment=True) as engine:
        session = await engine.session("desk")
        lost = await session.execute("f()")
        assert "'f' was lost" in str(lost.error)
        assert "compiled by another version of Python" in str(lost.error)


async def test_any_changed_byte_of_a_small_one(tmp_path: Path) -> None:
    store = tmp_path / "work.db"
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        await session.execute("x = 1")
        await session.checkpoint("older")
        await session.execute("x = 2")
        number = await session.checkpoint("newer")
        places: list[tuple[str, int | str]] = [("checkpoints.manifest", number)]
        places += [("chunks.data", each) for each in own_chunks(store, number)]
        assert len(places) > 1
        for place, key in places:
            (table, _, column), name = place.partition("."), "id" if isinstance(key, int) else "digest"
            update = f"UPDATE {table} SET {column}=? WHERE {name}=?"
            select = f"SELECT {column} FROM {table} WHERE {name}=?"
            data = value(store, select, key)
            for at in range(0, len(data), max(1, len(data) // 15)):
                change(store, update, data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :], key)
                with pytest.raises(CheckpointError) as refused:
                    await session.restore(number)
                assert refused.value.older is not None
            change(store, update, data, key)
        assert (await session.execute("x", journal=False)).value == 2
        assert (await session.restore(number)).restored


async def test_what_is_offered_has_to_be_whole_itself(tmp_path: Path) -> None:
    store = tmp_path / "work.db"
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        for n in range(4):
            await session.execute(MAKE.format(n, n))
            await session.label((await session.checkpoints())[-1].id, f"l{n}")
        numbers = [info.id for info in await session.checkpoints()]
    other_key(store, numbers[3])
    blob(store, numbers[2]).unlink()
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        execution = await session.submit("small")
        await in_state(engine, execution, "interrupted")
        note = (await execution.info()).note or ""
        skips = f"--skip-checkpoint {numbers[2]} --skip-checkpoint {numbers[3]}"
        assert f"go on from checkpoint {numbers[1]}, which is whole, with `durable resume {skips}`" in note
        for each in numbers[2:]:
            await engine.skip_checkpoint(each)
        await engine.resume(execution.id)
        assert (await session.result(execution.id)).value == [1]
