"""An engine killed between a capability's effect and its record, and after it (specs/capability.md, C2)."""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import PIPE
from pathlib import Path

from aiohttp import web

import durable
from tests.e2e.calling import LEDGER, charging
from tests.waiting import until
from tests.warm_python import PYTHON

ROOT = Path(__file__).parents[2]


async def killed_engine(directory: Path, die: str) -> None:
    process = await asyncio.create_subprocess_exec(PYTHON, "-m", "tests.e2e.calling", str(directory), die, cwd=ROOT)
    assert await process.wait() == -signal.SIGKILL


async def test_killed_before_the_record_it_is_performed_again_with_the_same_key(tmp_path: Path) -> None:
    await killed_engine(tmp_path, "after the effect")
    async with durable.open(tmp_path / "work.db", capabilities=[charging(tmp_path, "no")]) as engine:
        result = await (await engine.session("desk")).result("desk@1")
        assert (result.value, result.error) == ("charged 5", None)
    assert (tmp_path / LEDGER).read_text().splitlines() == ["exec:desk@1:charge:1 5"] * 2


async def test_killed_after_the_record_it_is_never_performed_again(tmp_path: Path) -> None:
    await killed_engine(tmp_path, "after the record")
    async with durable.open(tmp_path / "work.db", capabilities=[charging(tmp_path, "no")]) as engine:

        async def sleeps() -> bool:
            row = await engine.store.reads.get_execution("desk@1")
            return row is not None and row.state == "running" and row.engine == engine.engine_id

        await until(engine, sleeps)
        await engine.cancel("desk@1")
        result = await (await engine.session("desk")).execute("1 + 1")
        assert result.value == 2
    assert (tmp_path / LEDGER).read_text().splitlines() == ["exec:desk@1:charge:1 5"]


async def test_each_kind_of_effect_is_repeated_with_its_key_or_not_at_all(tmp_path: Path) -> None:
    """The engine is killed at the first effect of each call: of one that was recorded before, nothing comes again."""
    engines: list[asyncio.subprocess.Process] = []

    async def charge(request: web.Request) -> web.Response:
        with (tmp_path / LEDGER).open("a") as ledger:
            ledger.write(f"{request.headers['Idempotency-Key']}\n")
        if (tmp_path / LEDGER).read_text().count(":fetch:") == 1:
            engines[-1].kill()
        return web.Response(text="charged")

    application = web.Application()
    application.router.add_post("/", charge)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    command = ("-m", "tests.e2e.calling_each", str(tmp_path), f"http://127.0.0.1:{runner.addresses[0][1]}/")
    try:
        for _ in range(5):
            engine = await asyncio.create_subprocess_exec(PYTHON, *command, cwd=ROOT, stdout=PIPE)
            engines.append(engine)
            out, _ = await engine.communicate()
    finally:
        await runner.cleanup()
    assert [each.returncode for each in engines] == [-signal.SIGKILL] * 4 + [0]
    assert out.decode() == "[1, 2, 'charged', 'ran\\n']\n"
    keys = [f"exec:desk@1:{name}:1" for name in ("charge", "charge_later", "fetch", "process")]
    assert (tmp_path / LEDGER).read_text().splitlines() == [key for key in keys for _ in range(2)]
