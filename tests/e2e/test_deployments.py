"""Deployments, wherever the store is: old work stays with old engines, new goes to new ones (specs/versions.md)."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import durable
from durable.engine.store_doctor import examined
from tests.waiting import in_state

from .cli_process import Terminal, read_errors_until

JOBS = """
import durable

@durable.function(name="leaf")
async def leaf(ctx: durable.Context) -> str:
    return "{release}"

@durable.function(name="parcel")
async def parcel(ctx: durable.Context) -> list[str]:
    {extra}
    await ctx.signal("go")
    child = ctx.start(leaf)
    return ["{release}", await child.result()]
"""

SLEEPS = "await ctx.sleep(0)"


@durable.function(name="leaf")
async def leaf(ctx: durable.Context) -> str:
    return "here"


@durable.function(name="parcel")
async def parcel(ctx: durable.Context) -> list[str]:
    await ctx.signal("go")
    child = ctx.start(leaf)
    return ["here", await child.result()]


@durable.function(name="fails")
async def fails(ctx: durable.Context) -> None:
    await ctx.run(str.upper, "a")
    raise ValueError("always")


async def waiting(engine: durable.Engine, execution: durable.Execution) -> str:
    """Whose it is, once it waits."""
    await in_state(engine, execution, "waiting")
    return (await execution.info()).deployment


async def test_who_gets_what(place: str) -> None:
    async with durable.open(place, serve=False) as client:
        async with durable.open(place, deployment="v1") as one:
            begun = await client.start(parcel, id="begun")
            assert await waiting(client, begun) == "v1"
            async with durable.open(place, deployment="v2") as two:
                new = await client.start(parcel, id="new")
                assert await waiting(client, new) == "v2", "new work goes to the newest"
                own = await one.start(parcel, id="own")
                assert await waiting(client, own) == "v1", "what an engine starts is its own"
                queued = await one.enqueue(durable.Queue("parcels"), parcel, id="queued")
                assert await waiting(client, queued) == "v2", "what a queue holds is new work"
                await one.deployments.use("v1")
                back = await client.start(parcel, id="back")
                assert await waiting(client, back) == "v1"
                listed = {each.name: each for each in await two.deployments.list()}
                assert list(listed) == ["v1", "v2"]
                assert (listed["v1"].open, listed["v2"].open) == ({"waiting": 3}, {"waiting": 2})
                assert listed["v1"].engines == [one.engine_id]
                assert listed["v2"].new_work == []
                assert any(each.endswith("parcel@1") for each in listed["v1"].new_work)
                with pytest.raises(durable.Conflict, match="alive"):
                    await two.deployments.delete("v2")
        async with durable.open(place, deployment="v2") as two:
            await client.signal("begun", "go")
            await client.signal("new", "go")
            assert await new.result(20) == ["here", "here"]
            assert await begun.state() == "running", "no engine of v1 is there"
            (stranded,) = [each for each in await two.deployments.list() if each.stranded]
            assert stranded.name == "v1"
            with pytest.raises(durable.Conflict, match="have not ended"):
                await two.deployments.delete("v1")
            with pytest.raises(durable.NotFound):
                await two.deployments.move("begun", "v3")
            with pytest.raises(durable.BadArguments, match="letters"):
                await two.deployments.move("begun", "v 3")
            check = await two.deployments.move("begun", "v2")
            assert check.ok
            assert await begun.result(20) == ["here", "here"]
            assert {row.deployment for row in await client.executions() if "@@" in row.id} == {"v2"}
            for name in ("own", "back"):
                await two.deployments.move(name, "v2")
                await client.signal(name, "go")
                await (await client.get(name)).result(20)
            await two.deployments.delete("v1")
            last = await client.start(parcel, id="last")
            assert await waiting(client, last) == "v2", "its functions go to the one that is left"


async def test_engines_without_a_deployment(place: str) -> None:
    """They keep what they began; what has not begun is nobody's."""
    async with durable.open(place, serve=False) as client:
        async with durable.open(place) as plain:
            await plain.start(parcel, id="begun")
            begun = await client.get("begun")
            assert await waiting(client, begun) == ""
        async with durable.open(place, deployment="v1") as one:
            with pytest.raises(durable.BadArguments, match="deployment"):
                durable.open(place, deployment="v 1")
            await client.signal("begun", "go")
            new = await client.start(leaf)
            assert await new.result(20) == "here"
            assert await begun.state() == "running"
            await one.deployments.move("begun", "v1")
            assert await begun.result(20) == ["here", "here"]


async def test_retries_and_forks_with_a_record_go_where_new_work_goes(place: str) -> None:
    async with durable.open(place, serve=False) as client:
        async with durable.open(place, deployment="v1") as one:
            failed = await one.start(fails, id="failed")
            await in_state(client, failed, "failed")
        async with durable.open(place, deployment="v2"):
            for made in (await client.retry("failed"), await client.fork_execution("failed", step=2)):
                await in_state(client, made, "failed")
                assert (await made.info()).deployment == "v2"


async def test_children_of_an_engine_without_a_deployment_are_its_own(place: str) -> None:
    async with durable.open(place, serve=False) as client, durable.open(place) as plain:
        begun = await plain.start(parcel, id="begun")
        await waiting(client, begun)
        async with durable.open(place, deployment="v1") as one:
            await client.signal("begun", "go")
            assert await begun.result(20) == ["here", "here"]
            assert [(row.id, row.deployment) for row in await one.executions(function="leaf")] == [("begun@@2", "")]


async def test_new_work_for_engines_that_are_gone_is_told(tmp_path: Path) -> None:
    terminal, place = Terminal(tmp_path), tmp_path / ".durable" / "state.db"
    async with durable.open(place, deployment="v1"):
        pass
    async with durable.open(place, serve=False) as client:
        await client.start(leaf, id="new")
    assert "durable deployment use NAME" in terminal.durable("deployment", "list").out
    (problem,) = [each for each in examined(str(place)) if each.check == "deployments"]
    assert problem.message.startswith("1 new executions go to the deployment v1")


async def test_a_move_finds_what_is_behind_the_executions_of_others(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    for deployment in ("v1", "v2"):  # those of v2 are newer, and wait as well
        async with durable.open(tmp_path / ".durable" / "state.db", deployment=deployment) as engine:
            for number in range(3):
                await waiting(engine, await engine.start(parcel, id=f"{deployment}-{number}"))
    move = ("deployment", "move", "v2", "--dry-run", "--json", "--from")
    for limit, count in ((2, 2), (10, 3)):
        moved = terminal.durable(*move, "v1", "--limit", str(limit))
        assert {each["id"] for each in moved.data} == {f"v1-{2 - number}" for number in range(count)}, (
            "the newest first"
        )
    terminal.durable(*move, "v9").failed(3, "no deployment 'v9'", "durable deployment list")


async def test_two_releases_as_processes(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    releases = {"old": JOBS.format(release="old", extra="pass"), "new": JOBS.format(release="new", extra=SLEEPS)}
    worker = ("worker", "jobs.py", "--deployment")
    terminal.write("jobs.py", releases["old"])
    with terminal.running(*worker, "r1") as old:
        read_errors_until(old, "serving")
        async with durable.open(tmp_path / ".durable" / "state.db", serve=False) as client:
            begun = [await client.start(parcel, id=f"begun-{n}") for n in range(2)]
            for execution in begun:
                assert await waiting(client, execution) == "r1"
            terminal.write("jobs.py", releases["new"])
            with terminal.running(*worker, "r2") as new:
                read_errors_until(new, "serving")
                fresh = await client.start(parcel, id="fresh")
                assert await waiting(client, fresh) == "r2"
                await client.signal("begun-0", "go")
                assert await begun[0].result(20) == ["old", "old"], "its child too"
                await client.signal("fresh", "go")
                assert await fresh.result(20) == ["new", "new"]
                old.send_signal(signal.SIGKILL)
                old.wait()
                await client.signal("begun-1", "go")
                terminal.durable("wait", "begun-1").failed(1, "deployment r1", "durable deployment move")
                stuck = terminal.durable("list", "--state", "running")
                assert "no living engine of deployment r1" in stuck.out
                moved = terminal.durable("deployment", "move", "r2", "--from", "r1", "--with", "jobs.py", "--json")
                assert ([each["verdict"] for each in moved.data], moved.code) == (["differs"], 1)
                new.kill()
    listed = terminal.durable("deployment", "list", "--json").data
    assert [(each["name"], each["open"], each["stranded"]) for each in listed] == [
        ("r2", {}, False),
        ("r1", {"running": 1}, True),
    ]
    (problem,) = [each for each in examined(str(tmp_path / ".durable" / "state.db")) if each.check == "deployments"]
    assert "1 executions belong to the deployment r1" in problem.message
