"""The disk, the file and other programs in the way: a clear StoreError, and nothing acknowledged that is not there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import sqlite3
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from durable.core.errors import StoreError, StoreRefused
from durable.core.limits import NOTICE_POLL_S
from durable.store.sqlite import writer
from durable.store.sqlite.store import Store
from durable.store.upkeep.doctor import examine
from tests.warm_python import PYTHON

from .invariants import check, contents
from .opened import Clock, opened, promise, root, settle

FILLING = """
import asyncio, json, resource, signal, sys
from pathlib import Path
from durable.core.errors import StoreError
from durable.store.sqlite.store import Store
from tests.contract.opened import promise, settle

async def main(limit):
    store = await Store.open(sys.argv[1])
    told, errors = [], set()
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for n in range(400):
        try:
            await store.request("promise.create", {**promise(f"p{n}"), "param": {"data": "x" * 20_000}})
            told.append(f"p{n}")
        except StoreError as error:
            errors.add(str(error))
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await store.request("promise.create", promise("after"))
        told.append("after")
    print(json.dumps([told, sorted(errors)]))
    if not limit:
        sys.stdout.flush()
        import os
        os._exit(0)
    await store.close()

asyncio.run(main(int(sys.argv[2])))
"""


async def filled(store: Path, limit: int, *wrapper: str) -> tuple[list[str], list[str]]:
    """Write until nothing fits; what was acknowledged, and the errors."""
    command = [PYTHON, "-c", FILLING, str(store), str(limit)]
    process = await asyncio.create_subprocess_exec(*wrapper, *command, stdout=PIPE, cwd=Path(__file__).parents[2])
    said, _ = await process.communicate()
    told, errors = json.loads(said)
    return told, errors


async def test_what_does_not_fit_is_refused_and_what_fits_again_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    told, errors = await filled(path, 2_000_000)
    assert 10 < len(told) < 400
    assert told[-1] == "after"
    assert len(errors) == 1
    assert "nothing was acknowledged that is not stored" in errors[0]
    assert {row[0] for row in contents(path)["promises"]} == set(told)
    check(path)


async def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("needs to mount a small file system: root and unshare")
    place, kept = tmp_path / "disk", tmp_path / "kept"
    place.mkdir()
    script = f'mount -t tmpfs -o size=5m tmpfs {place} && "$@"; cp -a {place} {kept}'
    told, errors = await filled(place / "s.db", 0, "unshare", "-m", "sh", "-c", script, "sh")
    assert 10 < len(told) < 400
    assert len(errors) == 1
    assert "free some disk space" in errors[0]
    assert {row[0] for row in contents(kept / "s.db")["promises"]} == set(told)
    check(kept / "s.db")


WAITS_ON_A_FULL_DISK = """
import asyncio, os, subprocess, sys
from pathlib import Path
from durable.core import limits
limits.LEASE_MS = limits.LEASE_ASK_MS = 500
import durable

STORE = sys.argv[1]
FILL = Path(STORE).parent / "fill"
runs = []

def fill():
    with FILL.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            print(error.strerror, flush=True)

async def large():
    runs.append(1)
    fill()
    return "x" * 700_000  # more than the log has room for

@durable.function(name="fills")
async def fills(ctx):
    return len(await ctx.run(large))

async def main():
    async with durable.open(STORE, observer=lambda _: None) as engine:
        execution = await engine.start(fills, id="a")
        try:
            await execution.result(60)
        except durable.StoreFull as error:
            print(error, flush=True)
        FILL.unlink()
        print(await execution.result(60), len(runs), flush=True)

        session = await engine.session("desk")
        await session.execute("import os, random\\nruns = 0")
        fill()
        cell = await session.submit(BIG)
        for ask in (cell.result(60), session.execute("runs")):
            try:
                await ask
            except durable.StoreFull as error:
                print(error, flush=True)
    print("closed", flush=True)
    try:
        async with durable.open(STORE, observer=lambda _: None) as engine:
            await (await engine.get(cell.id)).result(60)
    except durable.StoreFull as error:
        print(error, flush=True)
    FILL.unlink()
    async with durable.open(STORE, observer=lambda _: None) as engine:
        print((await (await engine.get(cell.id)).result(60))["value"], flush=True)

BIG = "runs += 1\\nbig = random.randbytes(600_000)\\nprint('x' * 300_000)\\n(runs, len(big))"
if sys.argv[2] == "served":
    command = [sys.executable, "-m", "durable.cli", "serve", "--store", STORE, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        token, STORE = Path(STORE + ".token"), server.stdout.readline().strip()
        os.environ["DURABLE_TOKEN"] = token.read_text().strip()
        asyncio.run(main())
        server.terminate()
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize("target", ["file", "served"])
async def test_whoever_waits_hears_of_a_full_disk_and_all_goes_on_when_there_is_room(
    tmp_path: Path, target: str
) -> None:
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("needs to mount a small file system: root and unshare")
    (tmp_path / "program.py").write_text(WAITS_ON_A_FULL_DISK)
    script = f'mount -t tmpfs -o size=5m tmpfs {tmp_path / "disk"} && exec "$@"'
    (tmp_path / "disk").mkdir()
    process = await asyncio.create_subprocess_exec(
        *(
            "unshare",
            "-m",
            "sh",
            "-c",
            script,
            "sh",
            sys.executable,
            tmp_path / "program.py",
            tmp_path / "disk" / "s.db",
            target,
        ),
        stdout=PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    async with asyncio.timeout(120):
        said = (await process.communicate())[0].decode().splitlines()
    assert process.returncode == 0
    assert said[0] == "No space left on device"
    assert "disk is full; free some disk space, then it goes on" in said[1]
    assert said[2] == "700000 1"  # its result waited
    assert ["free some disk space" in line for line in said[4:]] == [True, True, False, True, False]
    assert (said[6], said[8]) == ("closed", "[1, 600000]")


READ_ONLY = """
import asyncio, os, sys
from durable.core.errors import StoreError
from durable.store.sqlite.store import Store

async def main():
    await (await Store.open(":memory:")).close()  # everything is imported: another user may not read the modules
    if os.geteuid() == 0:
        os.setuid(65534)  # nothing is read-only for root
    try:
        await Store.open(sys.argv[1])
    except StoreError as error:
        print(error)

asyncio.run(main())
"""


@pytest.mark.parametrize("what", ["file", "directory"])
async def test_a_store_that_may_not_be_written_says_so(tmp_path: Path, what: str) -> None:
    path = tmp_path / "s.db"
    async with opened(path) as store:
        await store.request("promise.create", promise("p"))
    for each in (path, Path(f"{path}.key"), Path(f"{path}.d"), Path(f"{path}.d") / "peers"):
        each.chmod(0o777 if each.is_dir() else 0o666)
    (path if what == "file" else tmp_path).chmod(0o444 if what == "file" else 0o555)
    for parent in tmp_path.parents[:2]:
        parent.chmod(parent.stat().st_mode | 0o011)
    trusting = {**os.environ, "DURABLE_TRUST_STORE": str(path)}  # it is another user's
    process = await asyncio.create_subprocess_exec(
        *(PYTHON, "-c", READ_ONLY, str(path)), stdout=PIPE, cwd=Path(__file__).parents[2], env=trusting
    )
    said, _ = await process.communicate()
    tmp_path.chmod(0o777)
    assert str(path) in said.decode(), said
    assert "Permission denied" in said.decode() or "read-only" in said.decode() or "unable to open" in said.decode()


async def test_a_lock_that_another_program_keeps_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "BUSY_WAIT_S", 0.3)
    path = tmp_path / "s.db"
    async with opened(path) as store:
        await store.request("promise.create", promise("p"))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process holds it"):
            await store.request("promise.settle", settle("p"))
        other.execute("ROLLBACK")
        other.close()
        found = (await store.request("promise.settle", settle("p"))).data["promise"]
        assert found["state"] == "resolved"


async def test_damage_that_is_met_outside_any_request_fails_the_requests_and_hangs_nothing(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await store.request("promise.create", promise("p", timeout_at=clock.now + 10))
        with sqlite3.connect(tmp_path / "s.db", isolation_level=None) as other:
            other.execute("UPDATE promises SET tags='{'")
        other.close()
        clock.now += 20
        await asyncio.sleep(3 * NOTICE_POLL_S)  # the deadline is kept by itself: nothing tells that it failed
        with pytest.raises(StoreError, match="doctor"):
            await asyncio.wait_for(store.request("promise.create", promise("q")), 10)
    assert {each.check for each in examine(tmp_path / "s.db")} == {"invariants"}


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """The files of a store as a killed process leaves them: everything is still in the log."""
    path = tmp_path / "crashed" / "s.db"

    async def fill() -> None:
        async with opened(tmp_path / "s.db") as store:
            for n in range(60):
                await store.request("promise.create", root(f"e{n}"))
                if n % 3 == 0:
                    await store.request("promise.settle", settle(f"exec:e{n}"))
            path.parent.mkdir()
            for end in ("", "-wal", ".key"):
                shutil.copy(f"{store.path}{end}", f"{path}{end}")

    asyncio.run(fill())
    return path


def test_a_log_that_was_cut_ends_at_a_commit(crashed: Path, tmp_path: Path) -> None:
    log = Path(f"{crashed}-wal").read_bytes().rstrip(b"\0")  # without the room for what would have come
    sizes = []
    for cut in (len(log), len(log) - 1, len(log) - 5000, len(log) // 2, 40_000, 100, 31, 1, 0):
        place = tmp_path / f"cut-{cut}"
        shutil.copytree(crashed.parent, place)
        (place / "s.db-wal").write_bytes(log[:cut])
        try:
            asyncio.run(_look(place / "s.db"))
        except StoreError as error:
            raise AssertionError(f"a log cut at {cut} bytes") from error
        check(place / "s.db")
        sizes.append(len(contents(place / "s.db")["promises"]))
    assert sizes[0] == 60
    assert sizes == sorted(sizes, reverse=True)


async def _look(path: Path) -> None:
    async with opened(path) as store:
        await store.request("promise.search", {})
        await store.request("promise.create", promise("new"))
        await store.request("promise.settle", settle("new"))
        await store.reads.list_executions()
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM promises WHERE id='new'")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bytes_give_a_clear_error_or_the_right_answer(crashed: Path, seed: int) -> None:
    """SQLite has no checksums: a byte inside a value goes unseen. Nothing else may: structure is refused when met."""
    asyncio.run(_look(crashed))  # all of it in the file itself
    random_ = random.Random(seed)
    data = bytearray(crashed.read_bytes())
    for _ in range(20):
        data[random_.randrange(len(data))] ^= 1 << random_.randrange(8)
    crashed.write_bytes(data)
    told: list[str] = []

    async def use() -> None:
        store = await Store.open(crashed, create=False)
        try:
            for n in range(60):
                with contextlib.suppress(StoreRefused, StoreError):
                    await store.request("promise.settle", settle(f"exec:e{n}"))
                    told.append(f"exec:e{n}")
            with contextlib.suppress(StoreError):
                await store.reads.list_executions()
        finally:
            await store.close()

    with contextlib.suppress(StoreError):
        asyncio.run(use())
    try:
        found = {row[0]: row[1] for row in contents(crashed)["promises"]}
    except (sqlite3.Error, UnicodeDecodeError):
        assert examine(crashed)
        return
    if not examine(crashed):
        assert [each for each in told if found.get(each) == "pending"] == []
