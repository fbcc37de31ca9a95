"""Batches of what synchronous code prints fast: whose it is, its order, nothing lost (worker-protocol.md, T1-T5)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bridge.launch.launcher import WorkerLauncher
from bridge.protocol.messages import Call, Error, Result
from bridge.protocol.output_rules import OutputPolicy, OutputRules
from durable.core.errors import WorkerDied
from tests.protocol.desk import Desk, running

LINES = 3_000


def numbered(name: str, count: int = LINES) -> str:
    return "".join(f"{name} {i}\n" for i in range(count))


FLOOD = f"def flood(name):\n    for i in range({LINES}): print(name, i)\n"


async def test_a_thread_that_starts_in_a_flood_prints_for_the_execution_that_runs(desk: Desk) -> None:
    code = f"{FLOOD}import sys, threading\ngo = threading.Event()\ndef late():\n    go.wait()\n"
    code += f"    for i in range({LINES}): sys.stdout.write(f'late {{i}}\\n')\n"
    code += "def both():\n    flood('a')\n    t = threading.Thread(target=late)\n    t.start()\n"
    code += "    flood('b')\n    return t\n"
    await desk.run(f"{code}t = both()")
    await desk.run("def more():\n    flood('c')\n    go.set()\n    t.join()\n    flood('d')\n    flood('e')\nmore()")
    assert desk.text(execution="desk@1") == numbered("a") + numbered("b")
    lines = desk.text(execution="desk@2").splitlines(keepends=True)
    assert "".join(line for line in lines if line[:4] == "late") == numbered("late")
    assert "".join(line for line in lines if line[:4] != "late") == numbered("c") + numbered("d") + numbered("e")


@pytest.mark.parametrize(
    "start", ["threading.Thread(target=flood, args='b').start()", "_thread.start_new(flood, ('b',))"]
)
async def test_threads_that_print_at_once_each_keep_their_order(desk: Desk, start: str) -> None:
    """There are no batches while a thread is alive: two threads could hand theirs over in another order than filled."""
    await desk.run(
        "import _thread, sys, threading, time\nsys.setswitchinterval(1e-6)\ndef flood(name):\n"
        "    for i in range(2_000): sys.stdout.write(f'{name} {i:0>300}\\n')\n"
        "    done.append(name)\n    sizes.append(sys.stdout._CHUNK_SIZE)\n"
        f"def both():\n    flood('a')\n    {start}\n    flood('c')\n    while len(done) < 3: time.sleep(0.001)\n"
    )
    sizes = await desk.value("done, sizes = [], []\nboth()\nsizes")
    assert isinstance(sizes, list)
    assert [size > 1 for size in sizes[:2]] == [True, False]  # the third may be after a thread's end
    lines = desk.text().splitlines(keepends=True)
    for name in "abc":
        assert [line for line in lines if line[0] == name] == [f"{name} {i:0>300}\n" for i in range(2_000)]


async def test_a_write_that_was_kept_is_looked_at_like_any_other(desk: Desk) -> None:
    code = f"{FLOOD}import sys, threading\ngo = threading.Event()\n"
    code += "def late():\n    go.wait()\n    write('late\\n')\nt = threading.Thread(target=late)\n"
    code += "def first():\n    global write\n    flood('a')\n    write = sys.stdout.write\n    t.start()\nfirst()"
    await desk.run(code)
    await desk.run("def second():\n    write('b\\n')\n    go.set()\n    t.join()\n    flood('c')\nsecond()")
    assert desk.text(execution="desk@1") == numbered("a")
    lines = desk.text(execution="desk@2").splitlines(keepends=True)
    assert lines.index("late\n") > lines.index("b\n")
    assert "".join(line for line in lines if line != "late\n") == "b\n" + numbered("c")


async def test_a_task_that_runs_in_a_flood_prints_for_the_execution_that_runs(desk: Desk) -> None:
    """A synchronous statement can run the session's loop, and an older execution's task in it."""
    await desk.run(
        f"{FLOOD}import asyncio\ngo = asyncio.Event()\nasync def late():\n    await go.wait()\n    flood('late')\n"
        "task = asyncio.create_task(late())"
    )
    await desk.run(
        "def both():\n    flood('a')\n    go.set()\n    asyncio.get_event_loop().run_until_complete(task)\n"
        "    flood('b')\nboth()"
    )
    await desk.run("async def own():\n    flood('c')\nawait asyncio.gather(own(), own())")
    assert desk.text(execution="desk@1") == ""
    assert desk.text(execution="desk@2") == numbered("a") + numbered("late") + numbered("b")
    assert desk.text(execution="desk@3") == numbered("c") * 2


async def test_the_order_of_both_streams_of_redirects_and_of_characters_is_kept(desk: Desk) -> None:
    await desk.run(
        "import contextlib, io, os, sys\ndef flood():\n    for i in range(20_000):\n"
        "        print(i, 'é€𐍈\\ud800', file=sys.stderr if i % 1_000 == 7 else sys.stdout)\n"
        "        if i % 5_000 == 9: n = os.write(1, b'low\\n')\n"
        "        if i % 5_000 == 11:\n            with contextlib.redirect_stdout(io.StringIO()): print('kept')\n"
        "flood()"
    )
    text = "".join(one.data for one in desk.outputs)
    assert text.replace("low\n", "") == "".join(f"{i} é€𐍈?\n" for i in range(20_000))
    assert text.count("low\n") == 4
    assert "".join(one.data for one in desk.outputs if one.stream == "stderr").count("\n") == 20
    assert 2**13 < max(len(one.data.encode()) for one in desk.outputs) <= 2**16


async def test_what_was_printed_precedes_a_call_and_a_sleep(desk: Desk) -> None:
    def answer(_call: Call) -> None:
        assert desk.text() == numbered("a")

    desk.answers["fetch"] = answer
    code = f"{FLOOD}import time\ndef go():\n    flood('a')\n    fetch()\n    flood('b')\n"
    code += "    print('.', end='')\n    time.sleep(60)\ngo()"
    task = desk.start(code)
    await desk.until(lambda: desk.text() == numbered("a") + numbered("b") + ".")
    desk.session.interrupt()
    error = await task
    assert isinstance(error, Error)
    assert error.exception_type == "KeyboardInterrupt"


async def test_a_fork_in_a_flood_prints_nothing_twice(desk: Desk) -> None:
    code = f"{FLOOD}import os, warnings\nwarnings.simplefilter('ignore')\n"
    code += "def go():\n    flood('a')\n    pid = os.fork()\n    if pid == 0:\n        print('child')\n"
    code += "        os._exit(0)\n"
    await desk.run(f"{code}    os.waitpid(pid, 0)\n    flood('b')\ngo()")
    assert desk.text() == numbered("a") + "child\n" + numbered("b")


async def test_interrupts_lose_nothing_that_was_printed(desk: Desk) -> None:
    """At moments of which some are while a chunk changes hands."""
    await desk.run(
        "def flood():\n    global n\n    n = 0\n    while True:\n        print('x' * 150, n)\n        n += 1"
    )
    for round_number in range(40):
        desk.outputs.clear()
        task = desk.start("flood()")
        await desk.until(lambda: len(desk.outputs) > 2)
        await asyncio.sleep(round_number * 0.000_02)
        desk.session.interrupt()
        assert isinstance(await task, Error)
        printed = desk.text()
        done = await desk.value("n")
        assert isinstance(done, int)
        assert printed.startswith("".join(f"{'x' * 150} {i}\n" for i in range(done)))


async def test_a_kill_in_a_flood_leaves_its_beginning(desk: Desk) -> None:
    task = desk.start("for i in range(10**9): print(i)")
    await desk.until(lambda: len(desk.outputs) > 20)
    desk.session.kill()
    with pytest.raises(WorkerDied, match="SIGKILL"):
        await task
    whole = desk.text().rpartition("\n")[0].split("\n")
    assert whole == [str(i) for i in range(len(whole))]


@pytest.mark.parametrize("policy", ["drop_new", "drop_oldest", "error"])
async def test_what_is_dropped_of_batches_is_counted(
    launcher: WorkerLauncher, policy: OutputPolicy, tmp_path: Path
) -> None:
    """`n` lines were printed whole when the code went on, or when it got its error."""
    async with running(launcher=launcher, output=OutputRules(policy=policy, drain_ms=60_000)) as desk:
        desk.session.pause_reading()
        code = (
            "from pathlib import Path\ndef flood():\n    global n\n    n = 0\n    try:\n"
            "        for n in range(90_000): print('x' * 999)\n"
            f"    finally: Path('{tmp_path}/on').touch()\nflood()"
        )
        task = desk.start(code)
        async with asyncio.timeout(20):
            while not (tmp_path / "on").exists():  # noqa: ASYNC110  # the socket is what is not read
                await asyncio.sleep(0.005)
        desk.session.resume_reading()
        reply = await task
        written = sum(one.chars for one in desk.outputs)
        assert sum(one.dropped for one in desk.outputs) > 0
        if policy == "error":
            assert isinstance(reply, Error)
            assert reply.exception_type == "OutputOverflow"
            done = await desk.value("n")
            assert isinstance(done, int)
            assert done < 89_999
            assert done * 1_000 <= written <= done * 1_000 + 1_000
        else:
            assert isinstance(reply, Result)
            assert written == 90_000_000
