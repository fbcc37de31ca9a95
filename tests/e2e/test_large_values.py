"""Values above 1 MiB: blobs beside their rows, whole for whoever reads them (specs/store.md, V1-V7)."""

from __future__ import annotations

import asyncio
import base64
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import textwrap
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import durable
from durable.core.errors import Halted, NotEncodable, StoreRefused, ValueDamaged
from durable.core.limits import BLOB_GRACE_S, INLINE_CHARS_MAX, VALUE_BYTES_MAX
from durable.core.value_codec import ValueCodec, damaged_text
from durable.sessions.checkpoints.retention import sweep_chunks
from durable.store.direct_store import DirectStore
from durable.store.postgres import doctor as postgres_doctor
from durable.store.upkeep import copy, doctor
from durable.store.upkeep.backup import backup
from durable.store.upkeep.copied_tables import USED_BLOBS
from durable.store.upkeep.gc import collect
from durable.store.upkeep.record_checks import Finding
from tests.direct_store import opened_store
from tests.postgres_server import PostgresServer, behind
from tests.warm_python import PYTHON

CHARS = 1_400_000
_chance = random.Random(20)
ARGUMENT, SIGNAL, CONTEXT = (_chance.randbytes(CHARS // 2).hex() for _ in range(3))
RAN: list[int] = []


async def made(seed: int) -> str:
    RAN.append(seed)
    return random.Random(seed).randbytes(CHARS // 2).hex()


@durable.function
async def child(ctx: durable.Context, seed: int) -> str:
    return await made(seed)


@durable.function
async def job(ctx: durable.Context, text: str) -> list[str]:
    first = await ctx.run(made, 1)
    await ctx.stream("texts").write(first)
    await ctx.publish(text=first)
    second = await ctx.start(child, 2).result()
    third = await ctx.signal("more")
    fourth = await ctx.ask("Well?", schema=str, context=CONTEXT)
    return [text, first, second, third, fourth]


async def until_asked(engine: durable.Engine, id: str) -> str:
    while True:
        change = engine.changed()
        for prompt in await engine.prompts():
            if prompt.execution == id:
                assert prompt.prompt.context == CONTEXT
                return prompt.id
        assert await (await engine.get(id)).state() not in ("failed", "interrupted")
        await change


def rows(place: str, sql: str) -> list[tuple[Any, ...]]:
    with behind(place, Path(place)) as ask:
        return ask(sql)


LONGEST = "SELECT max(length(param_data)), max(length(value_data)) FROM promises"


async def test_large_values_are_whole_for_whoever_reads_them(place: str, tmp_path: Path) -> None:
    RAN.clear()
    async with durable.open(place) as engine:
        await engine.start(job, ARGUMENT, id="one")
        await engine.signal("one", "more", SIGNAL, key="k")
        await until_asked(engine, "one")
    async with durable.open(place) as engine:  # which replays what is recorded
        prompt = await until_asked(engine, "one")
        await engine.answer(prompt, "y" * CHARS)
        execution = await engine.get("one")
        expected = [ARGUMENT, await made(1), await made(2), SIGNAL, "y" * CHARS]
        assert await execution.result() == expected
        assert [item.value async for item in execution.stream("texts")] == [expected[1]]
        assert await execution.published("text") == expected[1]
        document = await engine.export("one")
        assert document.context["arguments"]["args"] == [ARGUMENT]
        forked = await engine.fork_execution("one", step=6)  # the signal is kept, the question is asked anew
        prompt = await until_asked(engine, forked.id)
        await engine.answer(prompt, "z")
        assert await forked.result() == [*expected[:4], "z"]
    assert RAN == [1, 2, 1, 2], "each was done once, and twice by this test"
    beside = place if place.startswith("postgresql:") else str(tmp_path / "work.db")
    assert max(rows(beside, LONGEST)[0]) < 1_000
    async with durable.open(tmp_path / "other.db") as engine:
        again = await engine.import_execution(document.to_json())
        assert await again.result() == expected


@pytest.fixture(params=["path", "postgres"])
def own_place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store of this process: a file, or a database."""
    if request.param == "path":
        return str(tmp_path / "work.db")
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.url()


async def blobs_of(store: DirectStore) -> int:
    """How many blobs there are, once what may go is swept as it is after the time of grace."""
    if store.chunks is None:
        await asyncio.to_thread(sweep_chunks, store, now_s=time.time() + 2 * BLOB_GRACE_S)
        return len(list((store.directory / "blobs").glob("??/*")))
    with behind(store_url(store), store.path) as ask:
        ask(f"UPDATE blobs SET put_at = put_at - {2_000 * BLOB_GRACE_S} RETURNING 1")
        await asyncio.to_thread(sweep_chunks, store, now_s=time.time())
        return int(ask("SELECT count(*) FROM blobs")[0][0])


URLS: dict[str, str] = {}


def store_url(store: DirectStore) -> str:
    return URLS[store.name]


async def test_a_blob_goes_with_the_last_value_that_refers_to_it(own_place: str) -> None:
    async with durable.open(own_place) as engine:
        await (await engine.start(child, 3, id="one")).result()
        await (await engine.start(child, 3, id="two")).result()
    async with opened_store(own_place) as store:
        URLS[store.name] = own_place
        assert await blobs_of(store) == 1, "both have the same value"
        now = int(time.time() * 1000) + 60_000
        await store.request("promise.create", {"id": "exec:three", "timeoutAt": 2**53 - 1, "param": {}, "tags": {}})
        for keep, left in ((1, 1), (0, 0)):
            async for _ in collect(store, before=now, keep=keep):
                pass
            assert await blobs_of(store) == left


async def test_a_value_that_is_put_while_it_could_be_swept_stays(own_place: str) -> None:
    data = base64.b64encode(b'"%s"' % (b"7" * CHARS)).decode()
    create = {"timeoutAt": 2**53 - 1, "tags": {"resonate:external": "true"}}
    async with opened_store(own_place) as store:
        URLS[store.name] = own_place
        await store.request("promise.create", {**create, "id": "a", "param": {"data": data}})
        rows(own_place, "DELETE FROM promises RETURNING 1")
        with behind(own_place, store.path) as ask:  # long ago, and nothing refers to it
            if store.chunks is None:
                (blob,) = (store.directory / "blobs").glob("??/*")
                os.utime(blob, (0, 0))
            else:
                ask("UPDATE blobs SET put_at = 0 RETURNING 1")
        await store.request("promise.create", {**create, "id": "b", "param": {"data": data}})
        await asyncio.to_thread(sweep_chunks, store, now_s=time.time())
        found = await store.request("promise.get", {"id": "b"})
        assert found.data["promise"]["param"]["data"] == data
        assert (await store.reads.get_promise("b")).param == "7" * CHARS  # type: ignore[union-attr]


async def test_data_of_others_that_looks_like_a_reference_is_data(own_place: str) -> None:
    texts = ["@", "@=", "@" + "0" * 64 + ":b:" + "0" * 32, "@:b:", "@" + "é" * INLINE_CHARS_MAX]
    async with opened_store(own_place) as store:
        for n, text in enumerate(texts):
            tags = {"resonate:external": "true"}
            create = {"id": f"p{n}", "timeoutAt": 2**53 - 1, "param": {"data": text}, "tags": tags}
            made = await store.request("promise.create", create)
            settled = await store.request(
                "promise.settle", {"id": f"p{n}", "state": "resolved", "value": {"data": text}}
            )
            for record in (made, settled, await store.request("promise.get", {"id": f"p{n}"})):
                assert record.data["promise"]["param"] == {"data": text}
            assert settled.data["promise"]["value"] == {"data": text}
            row = await store.reads.get_promise(f"p{n}")
            assert row is not None
            assert row.value == text
        found = (await store.request("promise.search", {"state": "resolved"})).data["promises"]
        assert [each["value"]["data"] for each in found] == texts


async def test_a_value_over_the_limit_is_refused_and_says_so(own_place: str) -> None:
    @durable.function
    async def echo(ctx: durable.Context, text: str) -> str:
        return text * 2

    async with durable.open(own_place) as engine:
        with pytest.raises(NotEncodable, match="too large to be recorded"):
            await engine.start(echo, "x" * VALUE_BYTES_MAX)
        execution = await engine.start(echo, "x" * (VALUE_BYTES_MAX // 2))
        with pytest.raises(NotEncodable, match="too large to be recorded"):
            await execution.result()


async def test_sealed_values_are_sealed_in_their_blobs(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    codec = ValueCodec({"k": bytes(32)}, current="k", compress=False)
    async with durable.open(tmp_path / "work.db", codec=codec) as engine:
        assert await (await engine.start(child, 4, id="one")).result() == await made(4)
    (blob,) = (tmp_path / "work.db.d" / "blobs").glob("??/*")
    assert (await made(4))[:100].encode() not in blob.read_bytes()


async def test_copies_and_backups_have_the_blobs(
    own_place: str, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    async with durable.open(own_place) as engine:
        expected = await (await engine.start(child, 5, id="one")).result()
    targets = [str(tmp_path / "copy.db"), postgres_server.url()]
    for target in targets:
        assert (await asyncio.to_thread(copy.copy, own_place, target)).blobs == 1
    if not own_place.startswith("postgresql:"):
        targets.append(str(tmp_path / "backup.db"))
        assert (await asyncio.to_thread(backup, Path(own_place), Path(targets[-1]))).blobs == 1
    for target in targets:
        async with durable.open(target, serve=False) as client:
            assert await (await client.get("one")).result() == expected


async def test_a_blob_that_is_gone_or_damaged_is_said_and_found_by_doctor(tmp_path: Path) -> None:
    path = tmp_path / "work.db"
    async with durable.open(path) as engine:
        await (await engine.start(child, 6, id="one")).result()
    assert not doctor.examine(path)
    (blob,) = (tmp_path / "work.db.d" / "blobs").glob("??/*")
    blob.write_bytes(b"something else")
    async with durable.open(path, serve=False) as client:
        with pytest.raises(ValueDamaged, match=f"the blob {blob.name} of a value is damaged"):
            await (await client.get("one")).result()
        blob.unlink()
        with pytest.raises(ValueDamaged, match=f"lacks the blob {blob.name}"):
            await (await client.get("one")).result()
        blob.mkdir()
        with pytest.raises(ValueDamaged, match=f"the blob {blob.name} of a value cannot be read: Is a directory"):
            await (await client.get("one")).result()
        with pytest.raises(ValueDamaged):
            await client.export("one")
    command = [PYTHON, "-m", "durable.cli", "--store", str(path), "result", "one"]
    told = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (1, "")
    assert blob.name in told.stderr
    assert [each.check for each in doctor.examine(path)] == ["large values"]


async def test_a_list_reads_no_large_values(place: str) -> None:
    async with durable.open(place) as engine:
        await (await engine.start(length, ARGUMENT, id="large")).result()
        await (await engine.start(child, 7, id="result")).result()
        await (await engine.start(length, "@short", id="short")).result()
        reads = engine.store.reads
        rows = {row.id: row for row in await reads.list_executions(whole=False)}
        assert rows["large"].param == rows["result"].value == "(a value above 1 MiB)"
        assert rows["large"].value == len(ARGUMENT)
        assert rows["short"].param["args"] == ["@short"]
        whole = {row.id: row for row in await reads.list_executions()}
        assert whole["large"].param["args"] == [ARGUMENT]
        assert list(whole) == list(rows) == ["short", "result", "large"]


@contextmanager
def blobs_gone(place: str) -> Iterator[None]:
    """In the block the store has no blob; after it they are as they were."""
    if place.startswith("postgresql:"):
        rows(place, "UPDATE blob_parts SET digest = '-' || digest RETURNING 1")
        yield
        rows(place, "UPDATE blob_parts SET digest = substr(digest, 2) WHERE substr(digest, 1, 1) = '-' RETURNING 1")
        return
    blobs = Path(f"{place}.d") / "blobs"
    blobs.rename(blobs.with_name("elsewhere"))
    yield
    shutil.rmtree(blobs, ignore_errors=True)
    blobs.with_name("elsewhere").rename(blobs)


@durable.function
async def length(ctx: durable.Context, text: str) -> int:
    return len(text)


@durable.function
async def asks(ctx: durable.Context, repeats: int) -> str:
    context = "c" * repeats
    answer: str = await ctx.ask("Well?", schema=str, context=context, timeout=timedelta(seconds=1), default="none")
    return answer


async def test_a_damaged_argument_halts_its_execution_and_nothing_else(own_place: str) -> None:
    async with durable.open(own_place, serve=False) as client:
        await client.start(length, ARGUMENT, id="large")
        await client.start(length, "short", id="short")
    with blobs_gone(own_place):
        async with durable.open(own_place) as engine:
            assert await (await engine.get("short")).result() == len("short")
            with pytest.raises(Halted, match="lacks the blob"):
                await (await engine.get("large")).result()
            assert await (await engine.start(length, "later")).result() == len("later")
    async with durable.open(own_place) as engine:
        await engine.resume("large")
        assert await (await engine.get("large")).result() == len(ARGUMENT)


async def test_a_damaged_question_times_out_and_is_in_the_inbox_with_the_reason(own_place: str) -> None:
    async with durable.open(own_place) as engine:
        large = await engine.start(asks, CHARS, id="large")
        short = await engine.start(asks, 1, id="short")
        while True:
            change = engine.changed()
            if len(await engine.prompts()) == 2:
                break
            await change
        with blobs_gone(own_place):
            questions = {each.execution: each.prompt.question for each in await engine.prompts()}
            assert questions.get("short", "Well?") == "Well?"
            assert "lacks the blob" in questions.get("large", "lacks the blob")
            assert await short.result() == "none"
            assert await large.result() == "none"


async def test_what_stands_for_a_damaged_value_is_never_recorded(own_place: str) -> None:
    data = damaged_text(ValueDamaged("0" * 64, "gone"))
    async with opened_store(own_place) as store:
        tags = {"resonate:external": "true"}
        create = {"id": "a", "timeoutAt": 2**53 - 1, "param": {"data": data}, "tags": tags}
        with pytest.raises(StoreRefused, match="lacks the blob 0"):
            await store.request("promise.create", create)


async def test_a_damaged_blob_is_mended_by_the_same_value(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        await (await engine.start(child, 6, id="one")).result()
        (blob,) = (tmp_path / "work.db.d" / "blobs").glob("??/*")
        blob.write_bytes(blob.read_bytes()[:-1])
        await (await engine.start(child, 6, id="two")).result()
        assert await (await engine.get("one")).result() == await made(6)


def findings(place: str) -> list[Finding]:
    if place.startswith("postgresql:"):
        return postgres_doctor.examine_database(place)
    return doctor.examine(Path(place))


async def test_doctor_tells_of_damaged_blobs_also_of_signals(own_place: str, tmp_path: Path) -> None:
    async with durable.open(own_place, serve=False) as client:
        await client.start(job, "short", id="one")
        await client.signal("one", "more", SIGNAL)
    assert not [each for each in findings(own_place) if each.check == "large values"]
    if own_place.startswith("postgresql:"):
        rows(own_place, "UPDATE blob_parts SET data = 'x' RETURNING 1")
    else:
        (blob,) = (tmp_path / "work.db.d" / "blobs").glob("??/*")
        blob.write_bytes(b"x")
    (finding,) = [each for each in findings(own_place) if each.check == "large values"]
    assert finding.message == "exec:one, a signal more: the blob of a recorded value is damaged; restore a backup"


KILLED = """
import asyncio, base64, os, signal, sys
from durable.store.sqlite.store import Store

seen = []

def fault(when, sql):
    if sql.startswith("INSERT INTO promises"):
        seen.append(sql)
    if seen and os.environ["KILL"] == f"{when} {sql.split()[0]}":
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    store = await Store.open(sys.argv[1], fault=fault)
    data = base64.b64encode(b'"%s"' % (b"8" * 1_400_000)).decode()
    await store.request(
        "promise.create",
        {"id": "a", "timeoutAt": 2**53 - 1, "param": {"data": data}, "tags": {"resonate:external": "true"}},
    )

asyncio.run(main())
"""


@pytest.mark.parametrize("point", ["before INSERT", "after INSERT", "before COMMIT", "after COMMIT"])
async def test_no_kill_leaves_a_row_without_its_blob(tmp_path: Path, point: str) -> None:
    path = tmp_path / "work.db"
    async with opened_store(str(path)):
        pass
    script = textwrap.dedent(KILLED)
    done = await asyncio.to_thread(
        subprocess.run, [PYTHON, "-c", script, str(path)], env={**os.environ, "KILL": point}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    there = list((tmp_path / "work.db.d" / "blobs").glob("??/*"))
    assert len(there) == 1, "it was written before its row"
    async with opened_store(str(path)) as store:
        recorded = await store.reads.get_promise("a")
        if point == "after COMMIT":
            assert recorded is not None
            assert recorded.param == "8" * CHARS
        else:
            assert recorded is None
        with closing(sqlite3.connect(path)) as file:
            used = {row[0] for row in file.execute(USED_BLOBS)}
        assert used == ({there[0].name} if recorded else set())
        assert await blobs_of(store) == len(used)
