"""Functions on their own loop, over real stores: the same again after every wait (specs/execution.md, X, L, R)."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

import durable
from durable.core.events import Event, Logged
from tests.waiting import first_prompt, in_state
from tests.warm_python import PYTHON, WARM_START

performed: list[str] = []
events: list[Event] = []


def note(text: str) -> str:
    performed.append(text)
    return text


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    performed.clear()
    at_gates.clear()
    events.clear()
    async with durable.open(tmp_path / "work.db", durability="process", observer=events.append) as engine:
        yield engine


async def result(engine: durable.Engine, function: Any, *args: Any) -> Any:
    return await asyncio.wait_for((await engine.start(function, *args)).result(), 60)


# -- branches ------------------------------------------------------------------------------------------------------

gates: dict[str, asyncio.Event] = {}


at_gates: list[str] = []


async def pass_gate(name: str) -> None:
    at_gates.append(name)
    await gates[name].wait()


class Rows:
    def row(self, n: int) -> str:
        return note(f"row {n}")


@durable.function
async def equal_branches(ctx: durable.Context) -> list[str]:
    async def branch(n: int) -> str:
        await ctx.options(name="fetch").run(lambda: pass_gate(f"{n}"))
        return await ctx.options(name="row").run(partial(Rows().row, n) if n else lambda: note("row 0"))

    rows = await asyncio.gather(*(branch(n) for n in range(3)))
    await ctx.sleep(0.01)
    again = await ctx.run(note, "again")
    return [*rows, again]


async def test_branches_with_equal_steps_keep_their_results(engine: durable.Engine) -> None:
    gates.update({f"{n}": asyncio.Event() for n in range(3)})
    execution = await engine.start(equal_branches)
    for n in (2, 0, 1):  # in another order than they were begun
        while (change := engine.changed()) and len(performed) < (2, 0, 1).index(n):
            await change
        gates[f"{n}"].set()
        while f"row {n}" not in performed:
            await asyncio.wait([engine.changed()], timeout=0.05)
    assert await execution.result(30) == ["row 0", "row 1", "row 2", "again"]
    assert sorted(performed) == ["again", "row 0", "row 1", "row 2"]


@durable.function
async def race(ctx: durable.Context) -> str:
    async def awaited(operation: Any) -> Any:
        return await operation

    answer = asyncio.create_task(awaited(ctx.ask("ok?")))
    late = asyncio.create_task(awaited(ctx.sleep(0.3)))
    done, _ = await asyncio.wait({answer, late}, return_when=asyncio.FIRST_COMPLETED)
    if late in done:
        return await ctx.run(note, "refund")
    await ctx.run(note, "ship")
    await ctx.sleep(0.4)  # both are settled when it goes on
    return await ctx.run(note, "shipped")


async def test_a_race_goes_the_same_way_again(engine: durable.Engine) -> None:
    execution = await engine.start(race)
    await engine.answer((await first_prompt(engine)).id, "yes")
    assert await execution.result(30) == "shipped"
    assert performed == ["ship", "shipped"]


plan: list[str] = []


@durable.function
async def behind_a_gather(ctx: durable.Context) -> list[str]:
    await asyncio.gather(ctx.run(note, "a"), ctx.run(note, "b"))
    done = [await ctx.run(note, each) for each in plan if each != "return"]
    if "return" in plan:
        return done
    await ctx.ask("go on?")
    return done


@pytest.mark.parametrize("changed", [["c", "x"], ["d", "c"], ["c"], ["c", "d", "e"], ["return"]])
async def test_changed_code_behind_a_gather_halts(engine: durable.Engine, changed: list[str]) -> None:
    plan[:] = ["c", "d"]
    execution = await engine.start(behind_a_gather, id="changed")
    prompt = await first_prompt(engine)
    plan[:] = changed
    await engine.answer(prompt.id, "yes")
    await in_state(engine, execution, "interrupted")
    said = (await execution.info()).note or ""
    assert "the record says" in said
    assert "exec:changed" in said
    plan[:] = ["c", "d"]
    await engine.resume("changed")
    assert await execution.result(30) == ["c", "d"]
    assert performed == ["a", "b", "c", "d"]


# -- waiting -------------------------------------------------------------------------------------------------------


@durable.function
async def background(ctx: durable.Context) -> str:
    event, queue = asyncio.Event(), asyncio.Queue[int]()

    async def worker() -> None:
        while True:
            n = await queue.get()
            await ctx.sleep(0.01 * n)
            queue.task_done()

    async def later() -> None:
        await ctx.sleep(0.02)
        event.set()

    tasks = [asyncio.create_task(later()), *(asyncio.create_task(worker()) for _ in range(2))]
    for n in range(4):
        queue.put_nowait(n)
    await queue.join()
    await event.wait()
    for task in tasks:
        task.cancel()
    return "done"


async def test_a_task_that_nobody_awaits_may_be_what_the_function_waits_for(engine: durable.Engine) -> None:
    assert await result(engine, background) == "done"


@durable.function
async def limited(ctx: durable.Context, how: str) -> str:
    try:
        match how:
            case "timeout":
                async with asyncio.timeout(0.05):
                    await ctx.ask("never answered")
            case "wait_for":
                await asyncio.wait_for(ctx.sleep(1000), 0.05)
            case "fail_after":
                with anyio.fail_after(0.05):
                    await ctx.sleep(1000)
            case "step":
                async with asyncio.timeout(0.05):
                    await ctx.run(pass_gate, "shut")
            case "sleep":
                await asyncio.sleep(0.05)
                return "slept"
            case "call_later":
                fired = asyncio.Event()
                asyncio.get_running_loop().call_later(0.05, fired.set)
                await fired.wait()
                return "called"
    except TimeoutError:
        gates["shut"].set()
        return "timed out"
    return "not"


@pytest.mark.parametrize(
    ("how", "outcome"),
    [
        *((how, "timed out") for how in ("timeout", "wait_for", "fail_after", "step")),
        ("sleep", "slept"),
        ("call_later", "called"),
    ],
)
async def test_pythons_own_ways_to_wait_and_to_limit_a_wait_are_durable(
    engine: durable.Engine, how: str, outcome: str
) -> None:
    gates["shut"] = asyncio.Event()
    assert await result(engine, limited, how) == outcome


@durable.function
async def many_limits(ctx: durable.Context) -> int:
    for n in range(3):
        async with asyncio.timeout(3600):
            await ctx.run(note, f"{n}")
    await ctx.ask("go on?")
    return 3


async def test_a_limit_that_was_met_leaves_no_timer(engine: durable.Engine) -> None:
    execution = await engine.start(many_limits)
    prompt = await first_prompt(engine)
    timers = [each for each in await engine.store.reads.children(execution.id) if each.tags["durable:kind"] == "timer"]
    assert [each.state for each in timers] == ["rejected_canceled"] * 3
    await engine.answer(prompt.id, "yes")
    assert await execution.result(30) == 3


@durable.function
async def waits_for_ever(ctx: durable.Context) -> None:
    await ctx.ask("never answered")


@durable.function
async def nested_with_a_limit(ctx: durable.Context) -> str:
    try:
        await ctx.options(timeout=0.05).run(waits_for_ever)
    except TimeoutError:
        return "timed out"
    return "not"


async def test_a_nested_functions_limit_ends_its_waits(engine: durable.Engine) -> None:
    assert await result(engine, nested_with_a_limit) == "timed out"


@durable.function
async def deadlocked(ctx: durable.Context) -> None:
    async def waits(lock: asyncio.Lock) -> None:
        async with lock:
            await asyncio.Event().wait()

    lock = asyncio.Lock()
    await ctx.run(note, "before")
    async with asyncio.TaskGroup() as group:
        group.create_task(waits(lock), name="first")
        group.create_task(waits(lock), name="second")


async def test_a_function_that_waits_for_nothing_is_told_with_its_tasks(engine: durable.Engine) -> None:
    with pytest.raises(durable.Deadlock) as caught:
        await result(engine, deadlocked)
    said = str(caught.value)
    assert "first waits at test_exact_replay.py:" in said
    assert "Event.wait" in said
    assert "second waits at" in said
    assert "Lock.acquire" in said


@durable.function
async def is_left(ctx: durable.Context) -> None:
    await ctx.run(note, "one")
    await ctx.run(pass_gate, "inside")
    await ctx.run(note, "after its caller")


@durable.function
async def leaves_it(ctx: durable.Context) -> str:
    ctx.run(is_left)
    ctx.run(pass_gate, "beside")
    await ctx.run(pass_gate, "outside")
    return "left"


async def test_a_nested_function_that_nobody_awaits_goes_no_further_than_its_caller(engine: durable.Engine) -> None:
    for name in ("inside", "beside", "outside"):
        gates[name] = asyncio.Event()
    execution = await engine.start(leaves_it, id="l")
    for name, step in (("outside", "exec:l.3"), ("inside", "exec:l.1.2")):
        async with asyncio.timeout(30):
            while name not in at_gates:
                await asyncio.wait([engine.changed()], timeout=0.05)
            gates[name].set()
            while (await engine.store.request("promise.get", {"id": step})).data["promise"]["state"] == "pending":
                await asyncio.wait([engine.changed()], timeout=0.05)
    gates["beside"].set()
    assert await execution.result(30) == "left"
    assert performed == ["one"]


# -- what only a step may do ---------------------------------------------------------------------------------------


def run_to_its_end(coro: Any) -> None:
    try:
        asyncio.run(coro)
    finally:
        coro.close()


OUTSIDE: dict[str, Callable[[], Any]] = {
    "thread": lambda: threading.Thread(target=print).start(),
    "to_thread": lambda: asyncio.to_thread(print),
    "executor": lambda: asyncio.get_running_loop().run_in_executor(None, print),
    "anyio thread": lambda: anyio.to_thread.run_sync(print),
    "subprocess": lambda: subprocess.run(["true"], check=True),
    "asyncio subprocess": lambda: asyncio.create_subprocess_exec("true"),
    "system": lambda: os.system("true"),
    "url": lambda: urllib.request.urlopen("http://127.0.0.1:1/"),
    "connection": lambda: asyncio.open_connection("127.0.0.1", 1),
    "anyio connection": lambda: anyio.connect_tcp("127.0.0.1", 1),
    "read": lambda: Path(__file__).read_text(encoding="utf-8"),
    "write": lambda: Path("/nonexistent/x").write_text("x", encoding="utf-8"),
    "remove": lambda: Path("/nonexistent/x").unlink(),
    "database": lambda: sqlite3.connect(":memory:"),
    "run": lambda: run_to_its_end(note_later()),
    **({"time.sleep": lambda: time.sleep(0.01)} if sys.version_info >= (3, 13) else {}),
}


async def note_later() -> None:
    note("ran")


@durable.function
async def reaches_out(ctx: durable.Context, what: str) -> None:
    await ctx.run(note, "before")
    made = OUTSIDE[what]()
    if asyncio.iscoroutine(made):
        await made


@pytest.mark.parametrize("what", OUTSIDE)
async def test_what_reaches_outside_belongs_into_a_step(
    engine: durable.Engine, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess.Popen, "_execute_child", WARM_START.usual)  # which is the caller's place otherwise
    with pytest.raises((durable.StepNeeded, ExceptionGroup)) as caught:  # anyio wraps what its tasks raise
        await result(engine, reaches_out, what)
    error = caught.value.exceptions[0] if isinstance(caught.value, ExceptionGroup) else caught.value
    assert durable.raised(error, durable.StepNeeded)
    assert re.search(r"test_exact_replay\.py:\d+: .*Put it into a step", str(error))
    assert performed == ["before"]


@durable.function
async def imports_and_logs(ctx: durable.Context) -> str:
    import xml.etree.ElementTree as tree

    return await ctx.run(note, tree.__name__)


async def test_an_import_is_no_io(engine: durable.Engine) -> None:
    sys.modules.pop("xml.etree.ElementTree", None)
    assert await result(engine, imports_and_logs) == "xml.etree.ElementTree"


@durable.function
async def lends_its_context(ctx: durable.Context) -> str:
    async def step() -> str:
        return await ctx.run(note, "inside")

    return await ctx.run(step)


async def test_a_context_is_used_by_its_function_only(engine: durable.Engine) -> None:
    with pytest.raises(durable.StepNeeded, match="is used outside of it"):
        await result(engine, lends_its_context)
    assert performed == []


# -- steps ---------------------------------------------------------------------------------------------------------


async def fetched(text: str) -> str:
    return note(text)


@durable.function
async def hidden_coroutines(ctx: durable.Context) -> list[str]:
    return [await ctx.run(lambda: fetched("lambda")), await ctx.run(partial(fetched, "partial"))]


async def test_a_step_that_returns_a_coroutine_runs_it(engine: durable.Engine) -> None:
    assert await result(engine, hidden_coroutines) == ["lambda", "partial"]


keys: list[str] = []


def fails_once() -> str:
    keys.append(durable.call_id())
    if len(keys) % 2:
        raise ConnectionError("not yet")
    return durable.call_id()


async def own_key() -> str:
    return durable.call_id()


@durable.function
async def keyed(ctx: durable.Context) -> list[str]:
    first = await ctx.options(retry=durable.Retry(max_retries=1, delay=0.001)).run(fails_once)
    return [first, await ctx.run(own_key)]


async def test_a_step_has_a_key_that_stays_over_its_retries(engine: durable.Engine) -> None:
    keys.clear()
    execution = await engine.start(keyed, id="keyed")
    assert await execution.result(30) == ["exec:keyed.1", "exec:keyed.2"]
    assert keys == ["exec:keyed.1"] * 2
    with pytest.raises(LookupError, match=r"ctx\.run"):
        durable.call_id()


PROGRAM = """
import asyncio, sys, durable
from tests.replay.test_exact_replay import retried_for_long
async def main():
    async with durable.open(sys.argv[1]) as engine:
        execution = await engine.start(retried_for_long, sys.argv[2], id="retried")
        print("open", flush=True)
        print(await execution.result(), flush=True)
asyncio.run(main())
"""


def fails(path: str) -> str:
    with Path(path).open("a", encoding="utf-8") as file:
        file.write("tried\n")
    raise ConnectionError("not yet")


@durable.function
async def retried_for_long(ctx: durable.Context, path: str) -> str:
    try:
        await ctx.options(retry=durable.Retry(max_retries=2, delay=6, max_delay=6)).run(fails, path)
    except ConnectionError:
        return "given up"
    return "not"


async def test_retries_are_counted_over_kills_and_hold_nothing_while_they_wait(tmp_path: Path) -> None:
    store, path = tmp_path / "work.db", tmp_path / "tries"
    for life in (1, 2, 3):
        process = await asyncio.create_subprocess_exec(
            PYTHON, "-c", PROGRAM, str(store), str(path), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"open\n"
        if life == 3:
            assert await process.stdout.readline() == b"given up\n"
        else:
            async with durable.open(store, serve=False) as watching:
                await tried_and_waits(watching, path, life)
            process.kill()
        await process.wait()
    assert path.read_text(encoding="utf-8") == "tried\n" * 3
    with closing(sqlite3.connect(store)) as connection:
        retries = connection.execute("SELECT id FROM promises WHERE id LIKE '%:retry:%' ORDER BY id").fetchall()
    assert [each for (each,) in retries] == ["exec:retried.1:retry:1", "exec:retried.1:retry:2"]


async def tried_and_waits(watching: durable.Engine, path: Path, times: int) -> None:
    execution = await watching.get("retried")
    while True:
        changed = watching.changed()
        tries = path.read_text(encoding="utf-8").count("tried") if path.exists() else 0
        if tries == times and await execution.state() == "waiting":
            return
        await asyncio.wait([changed], timeout=0.5)


# -- telling -------------------------------------------------------------------------------------------------------


@durable.function
async def talks_inside(ctx: durable.Context) -> None:
    ctx.log("nested begins")
    await ctx.sleep(0.01)
    ctx.log("nested ends")


@durable.function
async def talks(ctx: durable.Context) -> str:
    ctx.log("begins with %s", 1)
    await ctx.run(note, "a")
    waiting = ctx.sleep(0.01)
    ctx.log("waits")
    await asyncio.gather(waiting, ctx.run(talks_inside))
    ctx.log("asks")
    await ctx.ask("go on?")
    ctx.log("ends")
    return "done"


async def test_a_line_is_said_once(engine: durable.Engine) -> None:
    execution = await engine.start(talks, id="talks")
    await engine.answer((await first_prompt(engine)).id, "yes")
    assert await execution.result(30) == "done"
    lines = [(each.function, each.number, each.text) for each in events if isinstance(each, Logged)]
    own = [line for line in lines if line[0] == "talks"]
    assert own == [("talks", n, text) for n, text in enumerate(("begins with 1", "waits", "asks", "ends"), 1)]
    assert [line for line in lines if line[0] != "talks"] == [
        ("talks.3", 1, "nested begins"),
        ("talks.3", 2, "nested ends"),
    ]


@durable.function
async def changes_what_it_is_given(ctx: durable.Context) -> list[int]:
    numbers = [1]
    await ctx.run(numbers.append, 2)
    await ctx.run(clear, numbers)
    return numbers


def clear(numbers: list[int]) -> None:
    numbers.clear()


async def test_a_step_that_changes_its_argument_is_told_of(engine: durable.Engine) -> None:
    await result(engine, changes_what_it_is_given)
    assert any("ArgumentsChanged" in type(each).__name__ and "clear" in repr(each) for each in events)


async def test_a_line_is_told_before_the_step_that_follows_it_begins(engine: durable.Engine) -> None:
    def heard() -> list[str]:
        return [each.text for each in events if isinstance(each, Logged)]

    @durable.function(name="speaks")
    async def speaks(ctx: durable.Context) -> list[str]:
        ctx.log("before")
        return await ctx.run(heard)

    assert await result(engine, speaks) == ["before"]


async def test_an_observer_that_fails_is_no_failure_of_the_function(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(event: Event) -> None:
        if type(event).__name__ in ("Logged", "ArgumentsChanged"):
            raise RuntimeError("no space for it")

    async with durable.open(tmp_path / "work.db", observer=fails) as engine:
        assert await result(engine, changes_what_it_is_given) == []
        assert await result(engine, talks_inside) is None
    assert "the observer failed at ArgumentsChanged" in caplog.text
    assert "the observer failed at Logged" in caplog.text


# -- cancelling ----------------------------------------------------------------------------------------------------


begun = threading.Event()
"""A step that runs until it is cancelled does run: one that had not begun when the cancel came never does."""


async def until_cancelled() -> None:
    begun.set()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        note("step told")
        raise


def thread_until_cancelled() -> str:
    begun.set()
    while not durable.cancelled():
        time.sleep(0.01)
    return note("thread told")


@durable.function
async def inner_cleans(ctx: durable.Context) -> None:
    try:
        await ctx.run(until_cancelled)
    finally:
        await ctx.run(note, "inner cleaned")


@durable.function
async def cleans(ctx: durable.Context, how: str) -> str:
    try:
        match how:
            case "prompt":
                await ctx.ask("?")
            case "step":
                await ctx.run(until_cancelled)
            case "thread":
                await ctx.run(thread_until_cancelled)
            case "nested":
                await ctx.run(inner_cleans)
            case "group":
                async with asyncio.TaskGroup() as group:
                    group.create_task(ctx.ask("?"))
                    group.create_task(ctx.run(until_cancelled))
    except asyncio.CancelledError:
        await ctx.run(note, "caught")
        await ctx.sleep(0.02)
        await ctx.run(note, "cleaned")
    return "swallowed"


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("prompt", []),
        ("step", ["step told"]),
        ("thread", ["thread told"]),
        ("nested", ["inner cleaned", "step told"]),
        ("group", ["step told"]),
    ],
)
async def test_a_cancelled_function_cleans_up_durably_and_stays_cancelled(
    engine: durable.Engine, how: str, told: list[str]
) -> None:
    begun.clear()
    execution = await engine.start(cleans, how)
    await in_state(engine, execution, "waiting" if how == "prompt" else "running")
    while how != "prompt" and not begun.is_set():
        await asyncio.wait([engine.changed()], timeout=0.05)  # a step's beginning is told to nobody
    assert await execution.cancel("not wanted", grace=30)
    assert await execution.state() == "cancelled"
    with pytest.raises(durable.ExecutionCancelled, match="not wanted"):
        await execution.result(1)
    assert sorted(performed) == sorted([*told, "caught", "cleaned"])
    assert not await execution.cancel()


async def test_a_clean_up_has_its_grace(engine: durable.Engine) -> None:
    @durable.function(name="cleans for ever")
    async def for_ever(ctx: durable.Context) -> None:
        try:
            await ctx.ask("?")
        finally:
            await ctx.sleep(1000)

    execution = await engine.start(for_ever)
    await in_state(engine, execution, "waiting")
    assert await execution.cancel(grace=0.1)
    assert await execution.state() == "cancelled"


async def test_a_function_that_nobody_runs_is_cancelled_at_once(tmp_path: Path) -> None:
    store = tmp_path / "work.db"
    async with durable.open(store) as engine:
        execution = await engine.start(cleans, "prompt", id="left")
        await in_state(engine, execution, "waiting")
    async with durable.open(store, serve=False) as client:
        assert await (await client.get("left")).cancel()
        assert await (await client.get("left")).state() == "cancelled"
    assert json.dumps(performed) == "[]" or "caught" not in performed
