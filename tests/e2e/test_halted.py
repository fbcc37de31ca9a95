"""Waiters of an execution that is halted are told, wherever they wait (specs/execution.md, T1-T7)."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import logging
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import durable
from durable.core.events import Event, ExecutionHalted
from durable.functions.replay.record import AFTER_TAG, ORDINAL_TAG, RECORD_TAG
from tests.conftest import TOKEN, end_server, start_server
from tests.e2e.sandboxed import MANIFEST, MODULE, charging
from tests.waiting import first_prompt, in_state
from tests.warm_python import PYTHON

TOLD_S = 120
"""For the test's own sake; whoever waits is told within a second."""

plan: list[str] = []


def note(step: str) -> str:
    return step


@durable.function
async def planned(ctx: durable.Context) -> list[str]:
    done = [await ctx.run(note, step) for step in plan]
    return done if "return" in plan else [*done, await ctx.ask("On?")]


def always_fails() -> None:
    raise ValueError("it is broken")


@durable.function
async def pauses(ctx: durable.Context) -> None:
    await ctx.ask("On?")
    once_more = durable.Retry(max_retries=1, delay=0, on_exhausted="pause")
    await ctx.options(retry=once_more).run(always_fails)


@durable.function
async def asks_six(ctx: durable.Context) -> int:
    return int(await ctx.component("six", "run"))


@durable.function
async def two_cells(ctx: durable.Context) -> list[Any]:
    async with asyncio.TaskGroup() as group:
        one = group.create_task(cell(ctx, "input('A?')", "a"))
        two = group.create_task(cell(ctx, "input('B?')", "b"))
    return [one.result(), two.result()]


async def cell(ctx: durable.Context, code: str, session: str) -> Any:
    return (await ctx.execute(code, session=session)).value


@durable.capability
def lookup(sku: str) -> str:
    return sku


class Scene:
    """One store with its engine, a server on it, and a person who makes things go wrong."""

    def __init__(self, engine: durable.Engine, folder: Path, url: str) -> None:
        self.engine = engine
        self.folder = folder
        self.file = folder / "work.db"
        self.url = url

    async def asked(self, code: str) -> tuple[durable.Session, durable.Execution[Any], durable.OpenPrompt]:
        """A cell that waits for an answer to `On?`."""
        session = await self.engine.session("desk", grants=["lookup"])
        execution = await session.submit(code)
        prompt = await first_prompt(self.engine, "On?")
        await in_state(self.engine, execution, "waiting")
        return session, execution, prompt

    def change(self, sql: str) -> None:
        with contextlib.closing(sqlite3.connect(self.file)) as file, file:
            file.execute(sql)


type Trigger = Callable[[], Awaitable[object]]
type Way = Callable[[Scene], Awaitable[tuple[str, Trigger]]]
"""Begins an execution; gives its id, and what halts it."""


async def changed_code(scene: Scene) -> tuple[str, Trigger]:
    return await _replay_of(scene, ["a", "b"], ["a", "x"])


async def a_step_left_out(scene: Scene) -> tuple[str, Trigger]:
    return await _replay_of(scene, ["a", "b"], ["a", "return"])


async def _replay_of(scene: Scene, before: list[str], after: list[str]) -> tuple[str, Trigger]:
    plan[:] = before
    execution = await scene.engine.start(planned, id="planned")
    prompt = await first_prompt(scene.engine)
    await in_state(scene.engine, execution, "waiting")
    plan[:] = after
    return execution.id, lambda: scene.engine.answer(prompt.id, "yes")


async def foreign_code_changed(scene: Scene) -> tuple[str, Trigger]:
    await scene.engine.sandbox.add(MANIFEST, MODULE)
    await scene.engine.sandbox.call("six", "run", execution="six.1")
    changed = MODULE.replace(b'{"amount":2}', b'{"amount":9}')
    assert changed != MODULE
    await scene.engine.sandbox.add(MANIFEST, changed)
    return "six", lambda: scene.engine.start(asks_six, id="six")


async def a_step_without_retries_left(scene: Scene) -> tuple[str, Trigger]:
    execution = await scene.engine.start(pauses, id="pauses")
    prompt = await first_prompt(scene.engine)
    await in_state(scene.engine, execution, "waiting")
    return execution.id, lambda: scene.engine.answer(prompt.id, "yes")


async def a_call_with_other_arguments(scene: Scene) -> tuple[str, Trigger]:
    path = scene.folder / "sku"
    path.write_text("a")
    _, execution, prompt = await scene.asked(f"x = lookup(open({str(path)!r}).read()), input('On?')\nx")

    async def trigger() -> None:
        path.write_text("b")
        await scene.engine.host.forget("desk")
        await scene.engine.answer(prompt.id, "yes")

    return execution.id, trigger


async def a_checkpoint_that_is_refused(scene: Scene) -> tuple[str, Trigger]:
    session = await scene.engine.session("desk", grants=["lookup"])
    await session.execute("x = 1")
    await session.checkpoint("before")  # a wait of a cell is checkpointed some time after it began
    _, execution, prompt = await scene.asked("input('On?')")

    async def refused() -> None:
        await scene.engine.host.forget("desk")
        scene.change("UPDATE checkpoints SET manifest = zeroblob(200)")
        await scene.engine.answer(prompt.id, "yes")

    return execution.id, refused


async def a_checkpoint_that_cannot_be_stored(scene: Scene) -> tuple[str, Trigger]:
    code = "import random\ninput('On?')\nlarge = random.Random(1).randbytes(3_000_000)\nmore = 1"
    _, execution, prompt = await scene.asked(code)
    blobs = Path(f"{scene.file}.d") / "blobs"
    if blobs.exists():
        shutil.rmtree(blobs)
    blobs.touch()
    return execution.id, lambda: scene.engine.answer(prompt.id, "yes")


async def a_checkpoint_that_the_store_refuses(scene: Scene) -> tuple[str, Trigger]:
    """A capture's row fails in the store while the code has gone on."""
    _, execution, prompt = await scene.asked("input('On?')\nimport time\nwhile True:\n    time.sleep(0.01)")
    scene.change("CREATE TRIGGER full BEFORE INSERT ON checkpoints BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
    return execution.id, lambda: scene.engine.answer(prompt.id, "yes")


async def an_interrupt(scene: Scene) -> tuple[str, Trigger]:
    _, execution, _ = await scene.asked("input('On?')")
    return execution.id, lambda: scene.engine.interrupt(execution.id)


async def a_halt_by_another_client(scene: Scene) -> tuple[str, Trigger]:
    _, execution, _ = await scene.asked("input('On?')")

    async def trigger() -> None:
        async with durable.open(scene.url, serve=False) as other:
            await other.store.request("task.halt", {"id": f"exec:{execution.id}", "note": "by hand"})

    return execution.id, trigger


async def a_child_that_is_halted(scene: Scene) -> tuple[str, Trigger]:
    execution = await scene.engine.start(two_cells, id="parent")
    await first_prompt(scene.engine, "A?")
    await first_prompt(scene.engine, "B?")
    await in_state(scene.engine, execution, "waiting")
    return execution.id, lambda: scene.engine.interrupt("parent.1")


async def a_cell_before_it_that_is_halted(scene: Scene) -> tuple[str, Trigger]:
    session, first, _ = await scene.asked("input('On?')")
    behind = await session.submit("'next'")
    return behind.id, lambda: scene.engine.interrupt(first.id)


async def a_record_of_before_branches_had_an_order(scene: Scene) -> tuple[str, Trigger]:
    execution, trigger = await _replay_of(scene, ["a", "b"], ["a", "b"])
    order = ", ".join(f"""'$."{tag}"'""" for tag in (ORDINAL_TAG, AFTER_TAG, RECORD_TAG))
    tags = f"json_set(json_remove(tags, {order}), '$.\"durable:concurrent\"', '1')"
    scene.change(f"UPDATE promises SET tags = {tags} WHERE id LIKE 'exec:planned.%'")
    return execution, trigger


RUN, PASS, LIVE = (
    "functions/replay/execution_pass.py",
    "functions/replay/function_pass.py",
    "sessions/execution/runner.py",
)
PLACES: dict[tuple[str, str], tuple[Way, ...]] = {
    (PASS, "FunctionPass.__init__"): (a_record_of_before_branches_had_an_order,),
    (PASS, "FunctionPass.begin"): (changed_code,),
    (PASS, "FunctionPass._finish"): (a_step_left_out,),
    (
        PASS,
        "FunctionPass._run_and_deliver",
    ): (),  # a record that has no order that could have been
    (PASS, "FunctionPass.check_same"): (),  # where somebody else made the promise since: as `ExecutionPass.halted` does
    (RUN, "ExecutionPass.halt"): (changed_code, a_step_left_out),
    (RUN, "ExecutionPass.halted"): (foreign_code_changed,),
    ("functions/operation.py", "Operation._wait"): (),  # a value under a key that this engine has not: test_codec.py
    ("functions/sandbox_step.py", "performing.body"): (foreign_code_changed,),
    ("functions/step_run.py", "Leaf._paused"): (a_step_without_retries_left,),
    ("sessions/ownership/owner.py", "SessionHost.durable_execute"): (a_checkpoint_that_is_refused,),
    (LIVE, "LiveSession._drive"): (a_checkpoint_that_is_refused,),
    (LIVE, "LiveSession._answered"): (a_call_with_other_arguments,),
    (LIVE, "LiveSession._take"): (a_checkpoint_that_cannot_be_stored,),
    (LIVE, "LiveSession._on_unsaved"): (a_checkpoint_that_the_store_refuses,),
    (LIVE, "LiveSession._stop"): (a_checkpoint_that_cannot_be_stored,),
    ("engine/executions.py", "Executions.gave_up"): (changed_code, a_checkpoint_that_is_refused),
    ("engine/executions.py", "Executions.interrupt"): (an_interrupt,),
}
"""Every place that halts an execution, or passes on that it is to be halted, and the ways below that go through it."""
WAYS = [
    *sorted({way for ways in PLACES.values() for way in ways}, key=lambda way: way.__name__),
    a_halt_by_another_client,
    a_child_that_is_halted,
    a_cell_before_it_that_is_halted,
]


def _halts(path: Path, call: ast.Call) -> bool:
    if path.parts[0] == "functions" and isinstance(call.func, ast.Name) and call.func.id == "HaltTask":
        return True
    match call.func:
        case ast.Attribute(attr=name, value=value):
            on = value.attr if isinstance(value, ast.Attribute) else getattr(value, "id", "")
        case ast.Name(id=name):
            on = ""
        case _:
            return False
    by_request = any(isinstance(each, ast.Constant) and each.value == "task.halt" for each in call.args)
    return by_request or (name, on) in {
        ("HaltTask", "sdk"), ("CellHalted", ""), ("_stop", "self"),
        *((name, on) for name in ("halt", "halted") for on in ("run", "self")),
    }  # fmt: skip


def _places(path: Path, node: ast.AST, where: tuple[str, ...] = ()) -> set[tuple[str, str]]:
    found = set()
    for child in ast.iter_child_nodes(node):
        inner = where
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = (*where, child.name)
        if isinstance(child, ast.Call) and _halts(path, child):
            found.add((path.as_posix(), ".".join(inner)))
        found |= _places(path, child, inner)
    return found


def test_every_way_of_halting_an_execution_is_known_here() -> None:
    root = Path(durable.__file__).parent
    found: set[tuple[str, str]] = set()
    for path in root.rglob("*.py"):
        if path.relative_to(root).parts[0] != "store":  # a store halts what it is asked to
            found |= _places(path.relative_to(root), ast.parse(path.read_text("utf-8")))
    assert found == PLACES.keys(), "enter a new place with a way that goes through it; take out one that is gone"


@pytest.fixture
async def events() -> list[Event]:
    return []


@pytest.fixture
async def scene(
    tmp_path: Path, events: list[Event], cached: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Scene]:
    monkeypatch.setenv("DURABLE_TOKEN", TOKEN)
    server, url = start_server(tmp_path / "work.db")
    try:
        options: dict[str, Any] = {"capabilities": [charging(tmp_path, 0), lookup], "observer": events.append}
        async with durable.open(tmp_path / "work.db", **options) as engine:
            yield Scene(engine, tmp_path, url)
    finally:
        assert end_server(server) == 0


async def _process(*words: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(PYTHON, "-m", *words, stdout=pipe, stderr=pipe)


async def _followed(scene: Scene, execution: str) -> durable.Halted:
    with pytest.raises(durable.Halted) as told:
        async for _ in scene.engine.follow(execution):
            pass
    return told.value


async def _waited(scene: Scene, execution: str) -> durable.Halted:
    with pytest.raises(durable.Halted) as told:
        await (await scene.engine.get(execution)).result()
    return told.value


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_everybody_who_waits_is_told(scene: Scene, events: list[Event], way: Way) -> None:
    execution, trigger = await way(scene)
    here: list[asyncio.Task[durable.Halted]] = []
    elsewhere: list[asyncio.subprocess.Process] = []

    async def begin_to_wait() -> None:
        here.extend(asyncio.create_task(wait(scene, execution)) for wait in (_waited, _followed))
        process = await _process("tests.e2e.halted_waiter", execution, str(scene.file), scene.url)
        elsewhere.append(process)
        assert process.stdout is not None
        for _ in range(2):
            assert await process.stdout.readline() == b"waits\n"
        elsewhere.append(await _process("durable.cli", "--store", str(scene.file), "wait", execution))

    exists = await scene.engine.store.reads.get_execution(execution) is not None
    async with asyncio.timeout(TOLD_S):
        if exists:
            await begin_to_wait()
        await trigger()
        if not exists:
            await begin_to_wait()
        told = await asyncio.gather(*here)
        outputs = await asyncio.gather(*(process.communicate() for process in elsewhere))
        if b"waits for an answer" in outputs[1][1]:  # it looked before the answer came, and ended with that
            elsewhere[1] = await _process("durable.cli", "--store", str(scene.file), "wait", execution)
            outputs[1] = await elsewhere[1].communicate()
    halted, reason = told[0].execution_id, told[0].note
    assert {(each.execution_id, each.awaited, each.note) for each in told} == {(halted, execution, reason)}
    row = await scene.engine.store.reads.get_execution(halted)
    assert row is not None
    assert (row.state, row.note) == ("interrupted", reason)
    said = {"halted": halted, "awaited": execution, "note": reason, "code": "HALTED"}
    assert json.loads(outputs[0][0]) == [said, said], "in another process, on the file and over HTTP"
    assert f"{halted} is interrupted".encode() in outputs[1][1]
    assert f"durable resume {halted}".encode() in outputs[1][1]
    assert elsewhere[1].returncode == (130 if reason == "interrupted" else 1)
    assert events.count(ExecutionHalted(halted, reason)) == 1


async def test_who_waits_through_halts_has_the_result_once_somebody_resumed_it(scene: Scene) -> None:
    session, execution, prompt = await scene.asked("input('On?') + '!'")
    behind = await session.submit("1")
    async with durable.open(scene.url, serve=False) as other, asyncio.timeout(TOLD_S):
        patient = [
            asyncio.create_task((await engine.get(execution.id)).result(wait_through_halts=True))
            for engine in (scene.engine, other)
        ]
        told = [asyncio.create_task(engine.get(behind.id)) for engine in (scene.engine, other)]
        impatient = [asyncio.create_task((await each).result()) for each in told]
        await scene.engine.interrupt(execution.id)
        for each in impatient:
            with pytest.raises(durable.Halted, match=f"{behind.id} waits for it") as halted:
                await each
            assert (halted.value.execution_id, halted.value.interrupted) == (execution.id, True)
        assert not any(each.done() for each in patient)
        for engine in (scene.engine, other):
            with pytest.raises(durable.Halted):
                await session.result(execution.id) if engine is scene.engine else await (
                    await engine.get(execution.id)
                ).result()
            with pytest.raises(TimeoutError):
                await (await engine.get(execution.id)).result(timeout=0.05, wait_through_halts=True)
        assert await scene.engine.resume(execution.id)
        anew = [asyncio.create_task((await engine.get(execution.id)).result()) for engine in (scene.engine, other)]
        await scene.engine.answer(prompt.id, "yes")
        assert [value["value"] for value in await asyncio.gather(*patient, *anew)] == ["yes!"] * 4
        assert (await session.result(behind.id)).value == 1


async def test_execute_and_stream_are_told_and_a_warning_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "work.db"
    async with durable.open(file) as engine:
        await (await engine.session("desk")).execute("x = 1")
    with contextlib.closing(sqlite3.connect(file)) as rows, rows:
        rows.execute("UPDATE checkpoints SET manifest = zeroblob(200)")
    caplog.set_level(logging.WARNING, "durable")
    async with durable.open(file) as engine, asyncio.timeout(TOLD_S):
        session = await engine.session("desk")
        with pytest.raises(durable.Halted, match=r"checkpoint 1 of session 'desk' is refused.*durable resume desk@2"):
            await session.execute("x")
        with pytest.raises(durable.Halted, match="desk@3 waits for it"):
            async for _ in session.stream("x"):
                pass
    assert [record.message.partition(":")[0] for record in caplog.records] == ["execution desk@2 is halted"]


UNCAPTURED = {
    "no stderr": "import sys\ndel sys.stderr",
    "no pickle": "import pickle\npickle.dumps = None",
    "no descriptors": (
        "import os\nfound = []\ntry:\n    while True:\n        found.append(os.open('/dev/null', 0))\n"
        "except OSError:\n    pass"
    ),
}


@pytest.mark.parametrize("how", UNCAPTURED)
async def test_a_capture_that_fails_is_told(tmp_path: Path, how: str) -> None:
    """Either the cell has its value, or whoever waits is told that it is halted."""
    async with durable.open(tmp_path / "work.db") as engine, asyncio.timeout(TOLD_S):
        session = await engine.session("desk")
        try:
            result = await session.execute(f"{UNCAPTURED[how]}\n1")
        except durable.Halted as told:
            assert "could not be captured" in told.note  # noqa: PT017
        else:
            assert result.value == 1
