"""Output while nobody reads: a session whose reading is paused, in cold and forked workers (B1-B5)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bridge.launch.launcher import WorkerLauncher
from bridge.protocol.messages import Error, Result
from bridge.protocol.output_rules import OutputPolicy, OutputRules
from durable.core.events import OutputUndrained
from tests.protocol.desk import Desk, running

MARK = "from pathlib import Path\n"
"""Code that nobody reads tells by a file that it went on."""


async def there(file: Path, text: str = "") -> None:
    """Wait until the code has written the file (and that text)."""
    async with asyncio.timeout(20):
        while not (file.exists() and text in file.read_text()):  # noqa: ASYNC110  # the socket is what is not read
            await asyncio.sleep(0.005)


async def asleep(desk: Desk) -> None:
    """Wait until the worker waits for something."""
    stat = Path(f"/proc/{desk.session.pid}/stat")
    async with asyncio.timeout(20):
        while stat.read_text().rpartition(")")[2].split()[0] != "S":  # noqa: ASYNC110  # nothing else tells
            await asyncio.sleep(0.005)


def lines(desk: Desk) -> list[int]:
    return [int(line) for line in desk.text().split() if line.isdigit()]


@pytest.mark.parametrize("policy", ["drop_new", "drop_oldest"])
async def test_code_goes_on_and_what_is_dropped_is_marked(
    launcher: WorkerLauncher, policy: OutputPolicy, tmp_path: Path
) -> None:
    rules = OutputRules(policy=policy, drain_ms=60_000)
    async with running(launcher=launcher, output=rules) as desk:
        desk.session.pause_reading()
        total = 3_000
        code = f"{MARK}for i in range({total}): print(i, 'x' * 16_000, flush=True)\nn = Path('{tmp_path}/on').touch()"
        task = desk.start(code)
        await there(tmp_path / "on")
        assert desk.outputs == []
        desk.session.resume_reading()
        assert isinstance(await task, Result)
        written = sum(len(f"{i} {'x' * 16_000}\n") for i in range(total))
        assert sum(one.chars for one in desk.outputs) == written
        assert sum(one.dropped for one in desk.outputs) > written / 2
        at = 0
        for one in desk.outputs:
            assert one.offset == at
            at += one.chars
        got = lines(desk)
        assert got == sorted(got)
        assert (total - 1 in got) == (policy == "drop_oldest")
        assert await desk.value("1 + 1") == 2


@pytest.mark.parametrize("policy", ["drop_new", "drop_oldest"])
async def test_children_and_c_code_go_on_too(launcher: WorkerLauncher, policy: OutputPolicy, tmp_path: Path) -> None:
    async with running(launcher=launcher, output=OutputRules(policy=policy)) as desk:
        desk.session.pause_reading()
        code = f"{MARK}import subprocess\nr = subprocess.run(['head', '-c', '3000000', '/dev/zero'])\n"
        task = desk.start(f"{code}n = Path('{tmp_path}/on').touch()")
        await there(tmp_path / "on")
        desk.session.resume_reading()
        assert isinstance(await task, Result)
        assert sum(one.chars for one in desk.outputs) == 3_000_000
        assert sum(one.dropped for one in desk.outputs) > 2_000_000


async def test_error_reaches_the_code_and_ends_the_execution(launcher: WorkerLauncher, tmp_path: Path) -> None:
    async with running(launcher=launcher, output=OutputRules(policy="error", drain_ms=60_000)) as desk:
        desk.session.pause_reading()
        code = (
            f"{MARK}seen = ''\ntry:\n    for i in range(6_000): print(i, 'x' * 16_000, flush=True)\n"
            f"except RuntimeError as e:\n    seen = str(e)\n    n = Path('{tmp_path}/on').touch()\nafter = True"
        )
        task = desk.start(code)
        await there(tmp_path / "on")
        desk.session.resume_reading()
        error = await task
        assert isinstance(error, Error)
        assert error.exception_type == "OutputOverflow"
        got = lines(desk)
        assert got == list(range(len(got)))
        assert len(got) >= 1_024
        assert sum(one.dropped for one in desk.outputs) > 0
        assert "output policy is 'error'" in str(await desk.value("seen"))
        assert (await desk.error("after")).exception_type == "NameError"
        await desk.run("print('fine')")
        assert desk.text().endswith("fine\n")


async def test_an_interrupt_reaches_code_that_waits_to_print(desk: Desk) -> None:
    task = desk.start("for i in range(10**9): print(i, 'x' * 1000)")
    await desk.until(lambda: bool(desk.outputs))
    desk.session.pause_reading()
    await asleep(desk)
    desk.session.interrupt()
    desk.session.resume_reading()
    error = await task
    assert isinstance(error, Error)
    assert error.exception_type == "KeyboardInterrupt"
    got = lines(desk)
    assert got == list(range(len(got)))


async def test_an_interrupt_ends_the_wait_while_nobody_reads(desk: Desk, tmp_path: Path) -> None:
    code = f"{MARK}try:\n    while True: print('x' * 1000)\nfinally: n = Path('{tmp_path}/on').touch()"
    desk.session.pause_reading()
    task = desk.start(code)
    async with asyncio.timeout(20):
        while not (tmp_path / "on").exists():
            desk.session.interrupt()
            await asyncio.sleep(0.05)
    desk.session.resume_reading()
    assert isinstance(await task, Error)
    assert await desk.value("1 + 1") == 2


FLOODS = {
    "block": "import threading, time\ndef flood():\n    for i in range(300): print(i, 'x' * 9_000)\n"
    "t = threading.Thread(target=flood)\nt.start()\ntime.sleep(0.2)\nn = Path('{on}').touch()\n'value'",
    "drop_new": "for i in range(300): print(i, 'x' * 9_000)\nn = Path('{on}').touch()\n'value'",
}


@pytest.mark.parametrize("policy", ["block", "drop_new"])
@pytest.mark.parametrize("drain", ["error", "warn"])
async def test_an_end_does_not_wait_for_ever(
    launcher: WorkerLauncher, policy: OutputPolicy, drain: str, tmp_path: Path
) -> None:
    """The reader really blocks: nothing is read until long after the drain's time is over."""
    rules = OutputRules.read({"policy": policy, "drain": drain, "drain_ms": 50})
    async with running(launcher=launcher, output=rules) as desk:
        desk.session.pause_reading()
        task = desk.start(MARK + FLOODS[policy].format(on=tmp_path / "on"))
        await there(tmp_path / "on")
        await asyncio.sleep(0.3)
        desk.session.resume_reading()
        reply = await task
        before = len(desk.outputs)
        assert reply.undrained > 0
        if drain == "error":
            assert isinstance(reply, Error)
            expected = ("OutputDrainTimeout", "Failed to drain all outputs before timeout")
            assert (reply.exception_type, reply.exception_message) == expected
        else:
            assert isinstance(reply, Result)
            assert reply.value == "value"
        if policy == "drop_new":
            assert sum(one.dropped for one in desk.outputs) >= reply.undrained
        warned = [one for one in desk.events if isinstance(one, OutputUndrained)]
        assert [(one.execution, one.chars) for one in warned] == [("desk@1", reply.undrained)]
        assert desk.session.undrained == 1
        if policy == "block":
            await desk.run("t.join()")
        else:
            assert len(desk.outputs) == before
        got = lines(desk)
        assert got == sorted(got)
        assert await desk.value("1 + 1") == 2


async def test_a_call_waits_for_what_was_printed_before_it(launcher: WorkerLauncher, tmp_path: Path) -> None:
    async with running(("fetch",), launcher, OutputRules(policy="drop_new")) as desk:
        desk.session.pause_reading()
        task = desk.start(
            f"{MARK}for i in range(100): print(i, 'x' * 9_000)\nn = Path('{tmp_path}/on').touch()\nfetch()"
        )
        await there(tmp_path / "on")
        desk.session.resume_reading()
        await desk.until(lambda: bool(desk.calls))
        assert lines(desk) == list(range(100))
        desk.answer(desk.calls[0], None)
        assert isinstance(await task, Result)
