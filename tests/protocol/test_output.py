"""Output: order, tags, descriptors, floods (specs/worker-protocol.md W2, Output order)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bridge.protocol.messages import Result
from durable.core.errors import WorkerDied
from tests.protocol.desk import Desk


async def test_output_precedes_the_result_whatever_wrote_it(desk: Desk) -> None:
    code = (
        "import os, subprocess, sys, ctypes\nprint('a')\nos.write(1, b'b\\n')\nsubprocess.run(['echo', 'c'])\n"
        "os.system('echo d')\nctypes.CDLL(None).puts(b'e')\nctypes.CDLL(None).fflush(None)\n"
        "sys.stdout.buffer.write(b'f\\n')\nprint('g', end='')"
    )
    assert isinstance(await desk.run(code), Result)
    assert desk.text() == "a\nb\nc\nd\ne\nf\ng"
    assert all(one.execution_id == "desk@1" for one in desk.outputs)


async def test_offsets_count_characters(desk: Desk) -> None:
    await desk.run("print('é' * 3)\nimport os\nx = os.write(2, b'err')", output_offset=100)
    at = 100
    for one in desk.outputs:
        assert one.offset == at
        at += len(one.data)
    assert at == 107


async def test_order_of_writes_across_streams_is_kept(desk: Desk) -> None:
    await desk.run("import sys\nfor i in range(50):\n    print(i, file=sys.stderr if i % 2 else sys.stdout)")
    assert "".join(one.data for one in desk.outputs) == "".join(f"{i}\n" for i in range(50))


@pytest.mark.parametrize(
    ("code", "size"),
    [
        ("for i in range(100_000): print('x' * 99)", 10_000_000),
        ("print('y' * 10_000_000)", 10_000_001),
        ("import sys\nfor i in range(1000): n = sys.stdout.write('z' * 10_000)", 10_000_000),
        ("import os\nfor i in range(1000): n = os.write(1, b'w' * 10_000)", 10_000_000),
        ("import subprocess\nr = subprocess.run(['head', '-c', '10000000', '/dev/zero'])", 10_000_000),
    ],
)
async def test_floods_lose_nothing(desk: Desk, code: str, size: int) -> None:
    assert isinstance(await desk.run(code), Result)
    assert sum(len(one.data) for one in desk.outputs) == size
    assert max(len(one.data.encode()) for one in desk.outputs) <= 2**20


async def test_a_line_of_a_hundred_megabytes(desk: Desk) -> None:
    assert isinstance(await desk.run("print('y' * 100_000_000)"), Result)
    assert sum(len(one.data) for one in desk.outputs) == 100_000_001
    assert max(len(one.data) for one in desk.outputs) <= 2**16


async def test_c_code_that_holds_the_gil_fills_no_pipe_for_ever(desk: Desk) -> None:
    code = "import ctypes\nb = b'c' * 3_000_000\nlibc = ctypes.PyDLL(None)\nprint('before')\nn = 0\n"
    code += "while n < len(b): n += libc.write(1, b[n:], len(b) - n)\nprint('after')\nn"
    assert await desk.value(code) == 3_000_000
    assert desk.text() == f"before\n{'c' * 3_000_000}after\n"


async def test_surrogates_and_invalid_utf8(desk: Desk) -> None:
    await desk.run(
        "import os, sys\nprint('a\\ud800b')\nn = os.write(1, b'\\xffc\\n')\nn = sys.stdout.buffer.write(b'\\xc3')"
    )
    await desk.run("n = sys.stdout.buffer.write(b'\\xa9')\nprint()")
    assert desk.text() == "a?b\n\ufffdc\n\u00e9\n"


async def test_a_character_split_between_the_readers_of_a_pipe_survives(desk: Desk) -> None:
    await desk.run(
        "import os, time\nn = os.write(1, b'\\xc3')\ntime.sleep(0.05)\nn = os.write(1, b'\\xa9')\nprint('!')"
    )
    assert desk.text() == "\u00e9!\n"


async def test_a_partial_line_arrives_while_the_code_still_runs(desk: Desk) -> None:
    task = desk.start("import time\nprint('progress', end='')\nn = fetch(1)\nprint('more', end='')\nwhile True: pass")
    desk.answers["fetch"] = lambda call: None
    await desk.until(lambda: desk.text() == "progressmore")
    desk.session.interrupt()
    await task


async def test_threads_and_tasks_print_for_the_execution_that_runs(desk: Desk) -> None:
    await desk.run(
        "import threading\ngo = threading.Event()\n"
        "def late():\n    go.wait()\n    print('late')\nt = threading.Thread(target=late)\nt.start()"
    )
    await desk.run("print('second')\ngo.set()\nt.join()")
    assert desk.text(execution="desk@1") == ""
    assert desk.text(execution="desk@2") == "second\nlate\n"


async def test_output_of_a_background_child_after_the_cell(desk: Desk) -> None:
    await desk.run("import subprocess\np = subprocess.Popen(['sh', '-c', 'read x; echo after'], stdin=subprocess.PIPE)")
    await desk.run("n = p.stdin.write(b'\\n')\np.stdin.close()")
    await desk.until(lambda: "after" in desk.text())


async def test_redirected_and_closed_streams(desk: Desk) -> None:
    code = (
        "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()) as kept: print('kept')\n"
        "import sys\nsys.stdout.close()\nprint('still', flush=True)\nkept.getvalue()"
    )
    assert await desk.value(code) == "kept\n"
    assert desk.text() == "still\n"


async def test_logging_and_warnings_reach_stderr(desk: Desk) -> None:
    await desk.run("import logging, warnings\nlogging.warning('careful')\nwarnings.warn('mind')")
    assert "careful" in desk.text("stderr")
    assert "mind" in desk.text("stderr")


async def test_a_syntax_warning_is_shown_once(desk: Desk) -> None:
    for code in ("x = 1\ny = (x is 1)", "x = 1 is 1", "1 is 1", "y = '\\d'", "'\\d'"):
        await desk.run(code)
        assert desk.text("stderr").count("SyntaxWarning") == 1, code
        desk.outputs.clear()


async def test_large_values_span_frames_both_ways(desk: Desk) -> None:
    desk.answers["fetch"] = lambda call: "a" * 15_000_000
    assert await desk.value("len(fetch(text))", inputs={"text": "b" * 15_000_000}) == 15_000_000
    assert len(str(desk.calls[0].arguments["args"])) > 15_000_000


async def test_a_paused_reader_stops_the_code_that_prints_and_loses_nothing(desk: Desk) -> None:
    """The worker cannot run ahead by more than the kernel's buffers, whoever prints."""
    codes = (
        "for i in range(300): print('x' * 99_999)",
        "import os\nfor i in range(300): n = os.write(1, b'x' * 10**5)",
    )
    for code in codes:
        desk.outputs.clear()
        task = desk.start(code)
        await desk.until(lambda: bool(desk.outputs))
        desk.session.pause_reading()
        stat = Path(f"/proc/{desk.session.pid}/stat")
        async with asyncio.timeout(10):
            while stat.read_text().rpartition(")")[2].split()[0] != "S":  # noqa: ASYNC110  # nothing else tells
                await asyncio.sleep(0.01)
        seen = len(desk.outputs)
        await asyncio.sleep(0.1)
        assert len(desk.outputs) == seen
        assert not task.done()
        assert len(desk.text()) < 10_000_000
        desk.session.resume_reading()
        assert isinstance(await task, Result)
        assert len(desk.text().replace("\n", "")) in (300 * 99_999, 300 * 10**5)


async def test_a_paused_worker_that_is_killed_is_noticed(desk: Desk) -> None:
    task = desk.start("while True: print('x' * 1000)")
    await desk.until(lambda: bool(desk.outputs))
    desk.session.pause_reading()
    desk.session.kill()
    with pytest.raises(WorkerDied, match="SIGKILL"):
        await task
    desk.session.resume_reading()
