"""Checkpoints and restores through the wire (specs/session.md, Checkpoint rule; W6)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from msgspec import structs

from bridge.protocol.messages import Checkpoint, Error, Namespace, Restore, Restored, Result
from checkpoint.blobs.memory_file import MemoryFile
from checkpoint.format.group_table import read_table
from checkpoint.format.payload import chunk_digest, decode_payload, encode_payload
from durable.core.errors import CheckpointError, WorkerDied
from tests.protocol.desk import Desk


async def test_each_statement_waits_until_its_checkpoint_is_durable(desk: Desk) -> None:
    durable = asyncio.Event()
    asked = asyncio.Event()

    async def keep(message: Checkpoint) -> None:
        desk.checkpoints.append(message)
        asked.set()
        await durable.wait()

    desk.keep = keep
    task = desk.start("x = 1\nprint('second')", checkpoint="statement")
    await asked.wait()
    await asyncio.sleep(0.05)
    assert desk.text() == "", "the next statement waits for the ack"
    assert not task.done()
    durable.set()
    result = await task
    assert isinstance(result, Result)
    assert [(one.statement, one.final) for one in desk.checkpoints] == [(1, False), (2, True)]
    assert [one.output_offset for one in desk.checkpoints] == [0, 7]


async def test_a_statement_that_made_a_call_is_followed_by_a_checkpoint(desk: Desk) -> None:
    desk.answers["fetch"] = lambda call: 1
    await desk.run("a = 1\nb = fetch()\nc = fetch(2)\nd = 1", checkpoint="auto")
    assert {2, 3} <= {one.statement for one in desk.checkpoints}
    by = {one.statement: one for one in desk.checkpoints}
    assert by[2].counters == {"fetch": 1}
    assert by[3].counters == {"fetch": 2}
    assert by[4].final


async def test_the_final_one_carries_the_outcome_and_comes_first(desk: Desk) -> None:
    result = await desk.run("41 + 1", checkpoint="auto")
    assert isinstance(result, Result)
    assert len(desk.checkpoints) == 1
    outcome = desk.checkpoints[0].outcome
    assert isinstance(outcome, Result)
    assert (outcome.value, outcome.repr, outcome.execution_id) == (42, "42", "desk@1")
    error = await desk.run("1 / 0", checkpoint="auto")
    assert isinstance(error, Error)
    outcome = desk.checkpoints[1].outcome
    assert isinstance(outcome, Error)
    assert outcome.exception_type == "ZeroDivisionError"


async def test_execute_returns_after_its_checkpoints_were_handled(desk: Desk) -> None:
    handled: list[int] = []

    async def keep(message: Checkpoint) -> None:
        await asyncio.sleep(0.05)
        handled.append(message.statement)

    desk.keep = keep
    await desk.run("a = 1\nb = 2", checkpoint="auto")
    assert handled[-1] == 2


async def test_a_host_that_cannot_keep_it_fails_the_caller(desk: Desk) -> None:
    async def keep(message: Checkpoint) -> None:
        raise CheckpointError("disk full")

    desk.keep = keep
    with pytest.raises(CheckpointError, match="disk full"):
        await desk.run("a = 1", checkpoint="auto")
    desk.keep = None
    assert await desk.value("a", checkpoint="auto") == 1


async def test_nor_lets_it_wait_for_an_ack_that_will_not_come(desk: Desk) -> None:
    async def keep(message: Checkpoint) -> None:
        raise CheckpointError("disk full")

    desk.keep = keep
    with pytest.raises(CheckpointError, match="disk full"):
        await desk.run("a = 1\nb = 2", checkpoint="statement")


async def test_the_end_of_a_worker_is_told_after_what_it_saved_was_kept(desk: Desk) -> None:
    kept: list[int] = []

    async def keep(message: Checkpoint) -> None:
        await asyncio.sleep(0.02)
        kept.append(message.statement)

    desk.keep = keep
    desk.answers["fetch"] = lambda call: 1
    with pytest.raises(WorkerDied):
        await desk.run("a = fetch()\nb = fetch()\nc = fetch()\nimport os\nos._exit(1)", checkpoint="auto")
    assert {1, 2, 3} <= set(kept)


async def test_future_imports_come_back(desk: Desk) -> None:
    await desk.run("from __future__ import annotations", checkpoint="auto")
    await kill_and_restore(desk)
    assert await desk.value("def f(x: nowhere): pass\nf.__annotations__['x']") == "nowhere"


async def test_tracebacks_show_lines_of_cells_from_before_the_restore(desk: Desk) -> None:
    await desk.run("def f():\n    return 1 / 0  # the line", checkpoint="auto")
    await kill_and_restore(desk)
    assert "# the line" in (await desk.error("f()")).traceback


async def kill_and_restore(desk: Desk) -> None:
    desk.session.kill()
    await desk.session.wait_ended()
    await desk.session.restart()
    await desk.session.restore(full(desk.checkpoints))


async def test_none_sends_none(desk: Desk) -> None:
    await desk.run("a = 1\nb = 2")
    assert desk.checkpoints == []


async def test_restore_into_a_new_worker_and_continue_where_it_was(desk: Desk) -> None:
    desk.answers["fetch"] = lambda call: 10
    code = "def f(): return base + more\nbase = fetch()\nmore = 5\nimport os\nos._exit(1) if more == 5 else 0\nf()"
    with pytest.raises(WorkerDied):
        await desk.run(code, checkpoint="statement")
    last = desk.checkpoints[-1]
    assert last.statement == 4
    await desk.session.restart()
    report = (await desk.session.restore(full(desk.checkpoints))).report
    assert "base" in report["restored"]
    await desk.run("more = 6")
    assert await desk.value(code, start_statement=last.statement, counters=last.counters) == 16
    assert len(desk.calls) == 1


def full(checkpoints: list[Checkpoint]) -> bytes:
    """The whole payload of the last one, put together from the increments as the engine does."""
    payloads = [decode_payload(one.data) for one in checkpoints]
    chunks = {chunk_digest(chunk): chunk for payload in payloads for chunk in payload.chunks}
    last = payloads[-1]
    table = read_table(last.contents, chunks.__getitem__)
    return encode_payload(structs.replace(last, chunks=tuple(chunks[digest] for digest in table.digests)))


async def test_checkpoint_on_request_and_history_in_a_fresh_worker(desk: Desk) -> None:
    await desk.run("6 * 7")
    saved = await desk.session.checkpoint()
    assert saved.data
    await desk.run("x = 'merged, not replaced'")
    await desk.session.restore(saved.data)
    assert await desk.value("x") == "merged, not replaced"
    await desk.session.restore(saved.data, clear_existing=True)
    assert (await desk.error("x")).exception_type == "NameError"
    desk.session.kill()
    await desk.session.wait_ended()
    await desk.session.restart()
    await desk.session.restore(saved.data)
    assert await desk.value("_") == 42


async def test_what_is_lost_is_named_and_explained_when_used(desk: Desk) -> None:
    await desk.run("g = (i for i in range(3))\nok = 1", checkpoint="auto")
    saved = await desk.session.checkpoint()
    assert [one.name for one in decode_payload(saved.data).contents.lost] == ["g"]
    await desk.session.restore(full([*desk.checkpoints, saved]), clear_existing=True)
    error = await desk.error("g")
    assert error.exception_type == "NameError"
    assert "generator" in error.exception_message
    assert "desk@1" in error.exception_message


async def test_functions_of_the_host_are_saved_by_name(desk: Desk) -> None:
    desk.answers["fetch"] = lambda call: "fetched"
    await desk.run("alias = fetch\ndef f(): return alias()")
    saved = await desk.session.checkpoint()
    assert saved.lost == []
    desk.session.kill()
    await desk.session.wait_ended()
    await desk.session.restart()
    await desk.session.restore(saved.data)
    assert await desk.value("f()") == "fetched"


async def test_corrupt_data_changes_nothing(desk: Desk) -> None:
    await desk.run("x = 1")
    for data in (b"", b"junk", (await desk.session.checkpoint()).data[:-3]):
        with pytest.raises(CheckpointError):
            await desk.session.restore(data)
    assert await desk.value("x") == 1


async def test_an_interrupt_during_a_capture_is_kept_for_the_code(desk: Desk, tmp_path: Path) -> None:
    pipe = tmp_path / "capturing"  # what it prints in a capture is nobody's
    os.mkfifo(pipe)
    reader, capturing = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), asyncio.Event()
    asyncio.get_running_loop().add_reader(reader, capturing.set)
    code = (
        f"import os, time\nclass Slow:\n    def __reduce__(self):\n"
        f"        os.write(os.open({str(pipe)!r}, os.O_WRONLY), b'x')\n"
        "        time.sleep(0.3)\n        return (Slow, ())\ns = Slow()\nfor _ in range(10**12): pass"
    )
    task = desk.start(code, checkpoint="statement")
    await capturing.wait()
    asyncio.get_running_loop().remove_reader(reader)
    desk.session.interrupt()
    result = await asyncio.wait_for(task, 20)
    assert isinstance(result, Error)
    assert result.exception_type == "KeyboardInterrupt"
    os.close(reader)


async def large(desk: Desk) -> MemoryFile:
    """What a worker of `x = 1` gives, in memory."""
    await desk.run("x = 1")
    data = (await desk.session.checkpoint()).data
    file = MemoryFile(len(data))
    file.write(data, 0)
    file.seal()
    return file


OPEN = "import os; len(os.listdir('/proc/self/fd'))"


async def test_a_descriptor_is_passed_when_the_worker_is_ready_and_none_is_left_open(desk: Desk) -> None:
    file = await large(desk)
    await desk.run("x = 2")
    before = await desk.value(OPEN)
    for _ in range(3):
        report = await desk.session.restore(file)
        assert report.report["restored"] == ["x"]
    assert await desk.value("x") == 1
    assert await desk.value(OPEN) == before
    assert (await desk.session.heartbeat()).namespace_size > 0, "messages come as before"


async def test_a_descriptor_that_does_not_come_or_is_not_what_was_said_changes_nothing(desk: Desk) -> None:
    file = await large(desk)
    reply = await desk.session._ask(Restore(memory=file.size, attached=True), Restored)
    assert "no descriptor came" in reply.problem
    other = MemoryFile(file.size)
    other.seal()
    with pytest.raises(CheckpointError, match="not what"):
        await desk.session.restore(other)
    file.size += 1
    with pytest.raises(CheckpointError, match="could not be restored"):
        await desk.session.restore(file)
    assert await desk.value("x") == 1


async def test_a_session_that_may_open_nothing_more_says_so(desk: Desk) -> None:
    file = await large(desk)
    await desk.run(
        "import os, resource\nheld = []\nhard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "import checkpoint.restore\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir('/proc/self/fd'))) + 9, hard))\n"
        "try:\n    while True: held.append(os.dup(0))\nexcept OSError: pass"
    )
    with pytest.raises(CheckpointError, match=r"no descriptor came|Too many open files"):
        await desk.session.restore(file)
    await desk.run("for each in held: os.close(each)")
    assert (await desk.session.restore(file)).report["restored"] == ["x"]


async def test_killed_between_ready_and_the_descriptor(desk: Desk) -> None:
    file = await large(desk)
    await desk.run(
        "import os, threading\nfrom bridge.worker.io.channel import Channel\n"
        "Channel._received = lambda self: os.kill(os.getpid(), 9) if self.awaits_descriptor else "
        "self._sock.recv(2**16, 64)"
    )
    with pytest.raises(WorkerDied):
        await desk.session.restore(file)
    await desk.session.wait_ended()
    await desk.session.restart()
    await desk.session.restore(file)
    assert await desk.value("x") == 1


async def test_a_capture_whose_asker_went_away_holds_nothing_up(desk: Desk) -> None:
    await desk.run(
        "import checkpoint.capture.incremental_capture as capture\ncapture.ASIDE_PICKLING_NS = -1\nx = 1",
        checkpoint="auto",
    )
    asking = asyncio.create_task(desk.session.checkpoint())
    await asyncio.sleep(0)  # it has asked
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()
    assert await desk.value("x + 1", checkpoint="auto") == 2
    assert desk.session.unknown_replies == 1


async def test_cells_that_only_imported_are_not_carried_along(desk: Desk) -> None:
    for n in range(40):
        await desk.value(f"from math import pi, tau as t  # {'x' * 3_000}\nn = {n}", checkpoint="auto")
    assert len(desk.checkpoints[-1].data) < 20_000  # the texts of all are 120,000
    assert await _imports(desk) == ["from math import pi", "from math import tau as t"]
    await desk.value("from cmath import pi", checkpoint="auto")
    assert await _imports(desk) == ["from cmath import pi", "from math import tau as t"]


async def _imports(desk: Desk) -> object:
    told = (await desk.session.namespace(Namespace(action="sources"))).value
    assert isinstance(told, dict)
    return told["imports"]
