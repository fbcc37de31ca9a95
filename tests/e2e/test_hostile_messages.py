"""Code that forges its worker's messages, and what its caller, its engine and other sessions have of it (H1-H7)."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import durable
from durable.core.events import Event, EventsOmitted, ReplyUnknown
from tests.e2e.isolated import need
from tests.protocol.hostile_worker import CELL, campaign, check, ping

FORGED = f"{CELL}\nengine = Engine()\n"


@pytest.fixture
async def told() -> list[Event]:
    return []


@pytest.fixture
async def engine(tmp_path: Path, told: list[Event]) -> AsyncIterator[durable.Engine]:
    async with durable.open(tmp_path / "work.db", durability="process", observer=told.append) as engine:
        yield engine


def _memory_peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


RESULT = "{'execution_id': 's@1', 'value': %s, 'repr': %s, 'execution_time': %s}"
FAILURE = "{'execution_id': 's@1', 'exception_type': %s, 'exception_message': %s, 'traceback': %s}"

BREACHES = {
    "time that is no number": "engine.say('result', " + RESULT % ("1", "'1'", "float('nan')") + ")",
    "time without end": "engine.say('result', " + RESULT % ("1", "'1'", "float('inf')") + ")",
    "time before it began": "engine.say('result', " + RESULT % ("1", "'1'", "-1.0") + ")",
    "a repr of 9 MiB": "engine.say('result', " + RESULT % ("1", "'x' * 9 * 2**20", "0.1") + ")",
    "a type of 3 MiB": "engine.say('error', " + FAILURE % ("'x' * 3 * 2**20", "''", "''") + ")",
    "a message of 3 MiB": "engine.say('error', " + FAILURE % ("'E'", "'x' * 3 * 2**20", "''") + ")",
    "a traceback of 3 MiB": "engine.say('error', " + FAILURE % ("'E'", "''", "'x' * 3 * 2**20") + ")",
    "500,000 warnings": "engine.say('result', " + RESULT % ("1", "'1'", "0.1") + " | {'warnings': ['w'] * 500_000})",
    "output that was dropped": "engine.say('output', {'execution_id': 's@1', 'stream': 'stdout', 'data': '',"
    " 'dropped': 2**63 - 1})",
    "output beyond what is counted": "for _ in range(2): engine.say('output', {'execution_id': 's@1', 'stream':"
    " 'stdout', 'data': '', 'dropped': 2**52})",
    "output of 10 MiB": "engine.say('output', {'execution_id': 's@1', 'stream': 'stdout', 'data': 'x' * 10 * 2**20})",
    "16 million items": "engine.raw(framed(b'\\xdd\\x01\\0\\0\\0' + b'\\x80' * 2**24))",
    "calls that nobody can have": "engine.say('waiting', {'execution_id': 's@1', 'calls': [1] * 5_000})",
    "a statement beyond any": "engine.say('checkpoint', {'execution_id': 's@1', 'statement': 2**40})",
    "a forged checkpoint": "engine.say('checkpoint', {'execution_id': 's@1', 'statement': 1, 'data': b'junk'})",
    "a checkpoint that leaves out what nobody has": "from checkpoint.format.payload import *; engine.say('checkpoint',"
    " {'execution_id': 's@1', 'statement': 1, 'data':"
    " encode_payload(Payload(FORMAT, Contents('3.13', (Page(4, bytes(32)),)), ()))})",
    "an outcome of a checkpoint": "engine.say('checkpoint', {'execution_id': 's@1', 'final': True, 'outcome':"
    " {'type': 'result', 'repr': 'x' * 9 * 2**20}})",
    "no message": "engine.raw(framed(b'junk'))",
    "a second hello": "engine.say('ready', {'session_id': 's', 'capabilities': [], 'pid': 1, 'python': '3'})",
    "an unknown message": "engine.say('settle', {'id': 'exec:other'})",
}


@pytest.mark.parametrize("what", BREACHES)
async def test_a_breach_ends_its_execution_as_failed_and_its_caller_is_told(engine: durable.Engine, what: str) -> None:
    session = await engine.session("s")
    code = f"{FORGED}{BREACHES[what]}\nimport time\ntime.sleep(60)"
    async with asyncio.timeout(30):
        result = await session.execute(code)
    assert result.error is not None
    assert result.error.exception_type == "durable.ProtocolError", result.error
    assert isinstance(result.error, durable.ProtocolError)
    assert len(str(result.error)) < 10_000
    [row] = await engine.store.reads.list_executions(session="s")
    assert row.state == "failed"
    assert (await session.execute("1 + 1")).value == 2  # in a new worker
    if what in ("a forged checkpoint", "a checkpoint that leaves out what nobody has"):
        return  # unjournaled code has none, and nobody looks into it
    with pytest.raises(durable.ProtocolError):
        await session.execute(code.replace("s@1", "quick"), journal=False)


async def test_what_a_stream_announces_is_not_held_before_it_came(engine: durable.Engine) -> None:
    """L1: 12 bytes had 4 GiB, in an engine that would not have them."""
    lie = "reader, writer = os.pipe(); os.write(writer, bytes(4) + (2**32 - 1).to_bytes(8, 'big')); "
    tell = "Engine().say('checkpoint', {'execution_id': 's@1', 'statement': 1, 'stream': reader}); "
    session = await engine.session("s")
    before = _memory_peak()
    result = await session.execute(f"{CELL}\nif True: {lie}{tell}os.kill(os.getpid(), 9)")
    assert isinstance(result.error, durable.ExecutionLost)
    assert _memory_peak() - before < 64 * 2**20


async def test_no_more_of_a_stream_is_taken_than_its_session_may_hold(engine: durable.Engine) -> None:
    need("limits of memory, cpu and files")
    session = await engine.session("s", limits=durable.Limits(memory=128 * 2**20))
    lie = "reader, writer = os.pipe()\nos.write(writer, bytes(4) + (2**27 + 1).to_bytes(8, 'big'))\n"
    tell = "engine.say('checkpoint', {'execution_id': 's@1', 'statement': 1, 'stream': reader})\nimport time\n"
    result = await session.execute(f"{FORGED}{lie}{tell}time.sleep(60)")
    assert isinstance(result.error, durable.ProtocolError)
    assert "at most 134217728" in str(result.error)


ASKED = """
def asked_for():
    data = b''
    while True:
        data += engine._socket.recv(1 << 16)
        while len(data) >= 4 and len(data) >= 4 + (size := int.from_bytes(data[:4], 'big')):
            message, data = msgspec.msgpack.decode(data[4 : 4 + size]), data[4 + size :]
            if message['type'] == 'checkpoint':
                return message['id']
reader, writer = os.pipe()
os.close(writer)
engine.say('checkpoint', {'execution_id': 's@1', 'final': True, 'statement': 1, 'data': b'', 'stream': reader})
engine.say('checkpoint', {'id': asked_for(), 'data': b'', 'stream': reader})
import time
time.sleep(60)
"""
"""Ends with a capture that does not come whole, and answers with a pipe again when it is to be made without one."""


async def test_a_pipe_in_place_of_what_was_to_come_without_one_breaks_the_protocol(engine: durable.Engine) -> None:
    """Nobody answered it: the worker waited, and with it whatever the session ran next."""
    session = await engine.session("s")
    async with asyncio.timeout(30):
        result = await session.execute(FORGED + ASKED)
    assert isinstance(result.error, durable.ProtocolError)
    assert "capture by itself" in str(result.error)


async def test_a_forged_end_holds_up_nothing_that_comes_after_it(engine: durable.Engine) -> None:
    """The worker's own checkpoint came when its execution was over, and was not answered: what ran next did not end."""
    session = await engine.session("s")
    forged = RESULT % ("1", "'1'", "0.1")
    # As a large namespace does:
    forks = "import checkpoint.capture.incremental_capture as capture\ncapture.ASIDE_PICKLING_NS = -1\n"
    async with asyncio.timeout(60):
        assert (await session.execute(f"{FORGED}{forks}engine.say('result', {forged})")).value == 1
        while (result := await session.execute("2")).error is not None:
            assert isinstance(result.error, durable.Busy), result  # the worker still ends what forged its end
        assert result.value == 2


async def test_checkpoints_that_nobody_waits_for_are_counted(engine: durable.Engine) -> None:
    session = await engine.session("s")
    flood = "while True: engine.say('checkpoint', {'execution_id': 'other@1', 'statement': 1})"
    async with asyncio.timeout(60):
        result = await session.execute(FORGED + flood)
    assert isinstance(result.error, durable.ProtocolError)
    assert "more than 64 checkpoints" in str(result.error)


async def test_pipes_that_nobody_writes_to_hold_up_no_other_session(engine: durable.Engine) -> None:
    """L2: six of them took the threads of the engine's executor."""
    tell = "reader, writer = os.pipe()\nengine.say('checkpoint', {'execution_id': 's%d@1', 'stream': reader})\n"
    sessions = [await engine.session(f"s{n}") for n in range(7)]
    running = [
        asyncio.create_task(session.execute(f"{FORGED}{tell % n}print('up', flush=True)\nimport time\ntime.sleep(60)"))
        for n, session in enumerate(sessions)
    ]
    for n in range(7):
        async for event in engine.follow(f"s{n}@1"):
            if "up" in getattr(event, "data", ""):
                break
    async with asyncio.timeout(5):
        assert await asyncio.to_thread(os.getpid) == os.getpid()
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_progress_that_is_none_counts_no_attempt_away(engine: durable.Engine) -> None:
    """L8: a checkpoint where the attempt began is no progress, however often it is made."""
    session = await engine.session("s")
    code = "from durable import checkpoint\ncheckpoint('again')\nimport os\nos.kill(os.getpid(), 9)"
    forged = f"{FORGED}engine.say('output', {{'execution_id': 's@1', 'stream': 'stdout', 'data': 'x'}})\n"
    async with asyncio.timeout(60):
        result = await session.execute(forged + code)
    assert isinstance(result.error, durable.ExecutionLost)


async def test_what_a_worker_causes_is_told_a_few_times_and_counted(engine: durable.Engine, told: list[Event]) -> None:
    """L9: 300,000 forged heartbeats were 300,000 log lines."""
    session = await engine.session("s")
    flood = "for _ in range(50_000): engine.say('heartbeat', {})\n1"
    assert (await session.execute(f"{FORGED}{flood}", journal=False)).value == 1
    await session.close()
    unknown = [event for event in told if isinstance(event, ReplyUnknown)]
    omitted = [event for event in told if isinstance(event, EventsOmitted)]
    assert 20 <= len(unknown) < 200
    assert len(unknown) + sum(event.count for event in omitted) == 50_000


async def test_a_short_campaign() -> None:
    """The long form is `python -m tests.protocol.hostile_worker`."""
    tally = await campaign(60, 5, frames=40_000, patience_s=1)
    check(tally, call_s_max=30)  # how fast it is shows on a machine that does nothing else
    assert tally.ends.get("durable.ProtocolError", 0) > 1, tally


@pytest.mark.parametrize("journal", [True, False])
async def test_a_call_of_what_is_not_granted_is_in_the_audit_whatever_its_arguments(
    tmp_path: Path, journal: bool
) -> None:
    """L15: one whose arguments had the wrong shape left nothing."""
    execution = "s@1" if journal else "quick"
    fields = f"{{'execution_id': '{execution}', 'call': 10**6, 'capability': 'ping', 'ordered': False"
    code = f"{FORGED}engine.say('call', {fields}, 'arguments': {{'args': 5, 'kwargs': {{}}}}}})\n1"
    async with durable.open(tmp_path / "work.db", durability="process", capabilities=[ping]) as engine:
        session = await engine.session("s")
        assert (await session.execute(code, journal=journal)).error is None
        async with asyncio.timeout(20):
            while not (entries := await engine.audit()):  # noqa: ASYNC110  # the audit tells nobody
                await asyncio.sleep(0.01)
        assert [(entry.what, entry.verdict) for entry in entries] == [("ping", "denied")]


async def test_code_that_replaces_methods_of_sockets_does_not_cut_its_worker_off(engine: durable.Engine) -> None:
    """Its result was sent by its own method, which sent nothing: the execution never ended."""
    session = await engine.session("s")
    replaced = (
        "import socket\nfor name in ('send', 'sendall', 'sendmsg', 'recv'): setattr(socket.socket, name, None)\n1"
    )
    async with asyncio.timeout(30):
        assert (await session.execute(replaced)).value == 1
        assert (await session.execute("socket.socket.send")).value is None
        assert (await session.execute("2", journal=False)).value == 2


FORKED = {
    "goes on": "import os\nchild = os.fork() == 0\nprint('child' if child else 'parent')\nchild",
    "raises": "import os\nif os.fork() == 0: raise ValueError('child')\nFalse",
    "exits": "import os, sys\nif os.fork() == 0: sys.exit(3)\nFalse",
    "sleeps": "import os, time\nif os.fork() == 0: time.sleep(600)\nFalse",
}


@pytest.mark.parametrize("code", FORKED.values(), ids=list(FORKED))
async def test_a_fork_of_the_worker_does_not_speak_for_it(engine: durable.Engine, code: str) -> None:
    """A child that goes on with the cell held up the kernel of a notebook elsewhere, or answered in its place."""
    session = await engine.session("s")
    async with asyncio.timeout(30):
        result = await session.execute(f"kept = 41\n{code}")
        assert result.error is None
        assert result.value is False
        assert (await session.execute("kept + 1")).value == 42
