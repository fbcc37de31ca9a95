"""Schedules with real engines, wherever the store is, and with one that is killed (specs/schedules.md)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

import durable
from durable.core import events
from tests.waiting import until
from tests.warm_python import PYTHON

from .cli_process import Terminal

JOBS = """
import asyncio
from pathlib import Path

import durable


async def note(name: str) -> None:
    with Path("began").open("a") as file:
        file.write("+" + name + "\\n")
    await asyncio.sleep(0.05)
    with Path("began").open("a") as file:
        file.write("-" + name + "\\n")


@durable.function(name="noted")
async def noted(ctx: durable.Context) -> None:
    await ctx.run(note, ctx.info.id)


@durable.function(name="said")
async def said(ctx: durable.Context, text: str) -> str:
    return text
"""


@durable.function(name="said")
async def said(ctx: durable.Context, text: str) -> str:
    return text


async def test_a_schedule_from_python(place: str) -> None:
    told: list[durable.Event] = []
    async with durable.open(place, observer=told.append) as engine:
        made = await engine.schedule("often", timedelta(milliseconds=200), said, "tick", overlap="skip")
        assert (made.line, made.overlap, made.paused) == ("@every 200ms", "skip", False)

        async def two() -> list[str]:
            rows = await engine.executions(function="said@1", state="completed")
            return [row.id for row in rows] if len(rows) >= 2 else []

        first = await until(engine, two)
        assert all(name.startswith("often-") for name in first)
        assert (await engine.schedules.pause("often")).next_at is None
        again = await engine.schedule("often", timedelta(milliseconds=200), said, "other")
        assert again.paused, "a pause goes on when a program declares its schedules again"
        by_hand = await engine.schedules.trigger("often")
        assert by_hand is not None
        assert await (await engine.get(by_hand)).result() == "other"
        since = datetime(2026, 1, 1, tzinfo=UTC)
        past = await engine.schedules.backfill("often", since, since + timedelta(seconds=1))
        assert [await (await engine.get(name)).result() for name in past] == ["other"] * 5
        assert (await engine.schedules.resume("often")).next_at is not None
        await engine.schedules.delete("often")
        fired = [each for each in told if isinstance(each, events.ScheduleFired)]
        if place.startswith("http"):
            assert fired == [], "who commits tells: here it is the server"
        else:
            assert {each.schedule for each in fired} == {"often"}
            assert {*first, *past, by_hand} <= {each.execution for each in fired}
        assert len({each.execution for each in fired}) == len(fired)
        with pytest.raises(durable.NotFound):
            await engine.schedules.get("often")
        for wrong in ({"overlap": "no"}, {"missed": "no"}, {"timezone": "Mars/Base"}, {"jitter": -1}):
            with pytest.raises(durable.BadArguments):
                await engine.schedule("wrong", "@daily", said, "x", **wrong)
        with pytest.raises(durable.BadArguments, match="time zone"):
            await engine.schedules.backfill("often", datetime(2026, 1, 1), since)


async def noted_more(began: Path, lines: int) -> bool:
    return began.exists() and len(began.read_text().splitlines()) >= lines


async def test_one_at_a_time_though_its_engine_is_killed(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(JOBS)
    store = tmp_path / "work.db"
    command = [PYTHON, "-m", "durable.cli", "--store", str(store), "worker", "jobs.py"]
    began = tmp_path / "began"
    async with durable.open(store, serve=False) as client:
        schedule = {
            "id": "s",
            "cron": "@every 100ms",
            "promiseId": "exec:{{.id}}-{{.timestamp}}",
            "promiseTimeout": 10**12,
        }
        tags = {"resonate:target": "poll://any@default", "durable:function": "noted@1", "durable:missed": "all"}
        param = {"data": "eyJmdW5jIjoibm90ZWQiLCJhcmdzIjpbXSwia3dhcmdzIjp7fSwidmVyc2lvbiI6MX0="}
        asked = {"schedule": {**schedule, "promiseTags": tags, "promiseParam": param}, "overlap": "queue"}
        await client.store.request("schedule.put", asked)
        for _ in range(3):
            lines = len(began.read_text().splitlines()) if began.exists() else 0
            worker = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stderr=asyncio.subprocess.DEVNULL)
            await until(client, partial(noted_more, began, lines + 5), timeout=60)
            worker.kill()
            await worker.wait()
        await client.schedules.pause("s")
    order = began.read_text().splitlines()
    names = [line[1:] for line in order if line.startswith("+")]
    assert [int(name.rpartition("-")[2]) for name in names] == sorted(int(name.rpartition("-")[2]) for name in names)
    for line, following in pairwise(order):
        assert line[0] == "-" or following in (f"-{line[1:]}", f"+{line[1:]}"), "one began while another went on"


def test_schedules_from_the_shell(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.write("jobs.py", JOBS)
    create = ("schedule", "create", "s", "@daily", "jobs.py::said", "x", "--overlap", "queue", "--jitter", "5m")
    made = terminal.durable(*create, "--timezone", "Europe/Paris", "--paused", "--json").data
    assert (made["cron"], made["overlap"], made["jitter"], made["paused"]) == (
        "CRON_TZ=Europe/Paris @daily",
        "queue",
        300.0,
        True,
    )
    assert len(terminal.durable("schedule", "next", "s", "--count", "3", "--json").data) == 3
    assert terminal.durable("schedule", "resume", "s", "--json").data == {"id": "s", "paused": False}
    [by_hand] = terminal.durable("schedule", "trigger", "s", "--json").data
    assert terminal.durable("show", by_hand, "--json").data["state"] == "pending"
    past = terminal.durable("schedule", "backfill", "s", "2026-01-01", "2026-01-03", "--json").data
    assert len(past) == 2
    terminal.durable("schedule", "pause", "nothing").failed(3, "nothing")
    terminal.durable("schedule", "create", "t", "@every 1ms", "jobs.py::said", "x").failed(2, "@every 15s")
    assert [row["last_execution"] for row in terminal.durable("schedule", "list", "--json").data] == [past[-1]]
