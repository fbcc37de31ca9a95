"""`python -m tests.protocol.fuzz --frames N --seed S`: hostile frames at either end of the worker protocol.

What must hold: no exception leaves the machine, a frame that is not allowed ends the session (W10: the worker) and
nothing else does, an execution ends at most once and by a message that names it, memory does not grow, nothing hangs.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import gc
import os
import resource
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from bridge.host.worker_session import WorkerSession
from bridge.protocol.messages import (
    Call,
    CallResult,
    Checkpoint,
    Error,
    Execute,
    Output,
    Result,
)
from bridge.protocol.states import WorkerState
from bridge.worker.io.channel import Channel, Waiter
from bridge.worker.run.sigint_gate import Gate
from durable.core.errors import DurableError
from tests.protocol.hostile import FROM_WORKER, TO_WORKER, Hostile

HANG_S = 60
"""A hundred frames that take longer hang: the process says where, and ends."""

UNFINISHED_BYTES_MAX = 2_000
"""A frame whose length was damaged swallows those after it: above, the stream ends and another begins."""

GROWTH_BYTES_MAX = 48 * 2**20
"""Resident memory may differ by so much from what it was after the first tenth: allocators keep some."""


@dataclass
class Tally:
    """What a run saw."""

    frames: int = 0
    sessions: int = 0
    ended: int = 0
    """Executions that the frames ended, or at the worker began."""
    refused: int = 0
    """Sessions that broke."""
    growth_bytes: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        rate = self.frames / max(self.seconds, 1e-9)
        return (
            f"{self.frames:,} frames in {self.seconds:.1f} s ({rate:,.0f}/s), {self.sessions:,} sessions, "
            f"{self.refused:,} of them broken, {self.ended:,} executions, "
            f"memory {self.growth_bytes / 2**20:+.1f} MiB"
        )


class Memory:
    """Resident memory against what it was when a tenth of the frames was through.

    Each look also gives the run HANG_S until the next one: `over` ends that, or the process would be ended later.
    """

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._base = 0
        self.growth = 0

    def look(self, done: int) -> None:
        """Raises AssertionError when it grew too much."""
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        if done < self._frames // 10:
            return
        gc.collect()
        now = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
        self._base = self._base or now
        self.growth = now - self._base
        assert self.growth < GROWTH_BYTES_MAX, f"{self.growth:,} bytes more after {done:,} frames"

    def over(self) -> None:
        """The run has ended, however it did."""
        faulthandler.cancel_dump_traceback_later()


class Sink:
    """In the place of a Transport: a process that exists, and a worker that reads nothing."""

    start_time = 0
    untaken = False

    def __init__(self, pid: int, session: WorkerSession) -> None:
        self.process = self
        self.pid = pid
        self.killed = False
        self._session = session

    def send(self, buffers: list[bytes | memoryview], _attached: object = None) -> None:
        assert all(len(buffer) for buffer in buffers)

    def decode(self, stream: Any, data: bytes) -> None:
        if data:
            self._session._printed.piped(stream, data.decode("utf-8", "replace"))

    def kill(self) -> None:
        self.killed = True

    def signal(self, _number: int) -> None:
        """Nobody is there."""


class EngineEnd:
    """Sessions, one after the other, each fed until it breaks."""

    def __init__(self, pid: int, tally: Tally) -> None:
        self._pid = pid
        self._tally = tally
        self.printed = 0

    async def _on_call(self, call: Call) -> CallResult | None:
        return CallResult(call=call.call, value=1) if call.call % 3 else None

    async def _on_checkpoint(self, message: Checkpoint) -> None:
        assert isinstance(message.data, bytes)

    def _on_output(self, message: Output) -> None:
        assert message.offset >= 0
        self.printed += message.chars

    async def session(self) -> WorkerSession:
        """One that runs `desk@1`, as if its worker had shaken hands."""
        self._tally.sessions += 1
        session = WorkerSession(
            "desk",
            on_call=self._on_call,
            on_checkpoint=self._on_checkpoint,
            on_output=self._on_output,
            capabilities=("fetch",),
            observer=lambda _event: None,
        )
        session._transport = Sink(self._pid, session)  # type: ignore[assignment]
        session.state = WorkerState.READY
        return session

    async def until_broken(self, hostile: Hostile, feed: Callable[[WorkerSession, bytes], None], frames: int) -> int:
        """Feed frames; how many."""
        session = await self.session()
        running: asyncio.Task[Result | Error] | None = None
        done = 0
        while done < frames and not session._broken:
            if session.state in (WorkerState.READY, WorkerState.IDLE):
                if not await self._over(running):
                    break
                self._check(running)
                running = asyncio.create_task(session.execute(Execute(id="desk@1", code="1", checkpoint="none")))
                await asyncio.sleep(0)
            for _ in range(16):
                done += 1
                feed(session, hostile.frame())
                if session._broken or session.state is not WorkerState.BUSY:
                    break
            if session._decoder.pending_bytes > UNFINISHED_BYTES_MAX:
                break
            await asyncio.sleep(0)
        if session._broken:
            self._tally.refused += 1
            assert session.state is WorkerState.ERROR
            assert session._transport.killed  # type: ignore[union-attr]
        session._process_ended("was ended")
        if running is not None:
            await asyncio.wait([running])
            self._check(running)
        await session._keeping.over()
        return done

    async def _over(self, running: asyncio.Task[Result | Error] | None) -> bool:
        """The caller has its answer. It may wait for a checkpoint that the worker is to make again and never does."""
        for _ in range(100):
            if running is None or running.done():
                return True
            await asyncio.sleep(0)
        return False

    def _check(self, running: asyncio.Task[Result | Error] | None) -> None:
        """It ended by a message of its own id, or with the session."""
        if running is None:
            return
        assert running.done()
        if running.exception() is None:
            assert running.result().execution_id == "desk@1"
            self._tally.ended += 1
        else:
            assert isinstance(running.exception(), DurableError), running.exception()


async def engine_end(frames: int, seed: int) -> Tally:
    """The engine's decoder and session machine, fed by a hostile worker."""
    tally, memory, began = Tally(), Memory(frames), monotonic()
    process = subprocess.Popen(["sleep", "infinity"], stdin=subprocess.DEVNULL)  # noqa: ASYNC220  # it only exists
    hostile, end, looked = Hostile(seed, FROM_WORKER), EngineEnd(process.pid, tally), 0

    def feed(session: WorkerSession, frame: bytes) -> None:
        session._receive(frame)

    try:
        while tally.frames < frames:
            tally.frames += await end.until_broken(hostile, feed, frames - tally.frames)
            if tally.frames - looked >= 20_000:
                looked = tally.frames
                memory.look(looked)
        memory.look(tally.frames)
    finally:
        memory.over()
        process.kill()
        process.wait()
    tally.growth_bytes, tally.seconds = memory.growth, monotonic() - began
    return tally


KINDS = (
    "hello", "execute", "checkpoint", "checkpoint_ack", "restore", "namespace", "complete", "heartbeat", "shutdown",
)  # fmt: skip
"""What the worker's own loop handles."""


class Broken(Exception):
    """Instead of the worker's end."""


def _broken(why: str) -> None:
    raise Broken(why)


def worker_end(frames: int, seed: int) -> Tally:
    """The worker's decoder, forms and routing, fed by a hostile engine."""
    memory = Memory(frames)
    try:
        return _fed_by_an_engine(frames, seed, memory)
    finally:
        memory.over()


def _fed_by_an_engine(frames: int, seed: int, memory: Memory) -> Tally:
    tally, began = Tally(), monotonic()
    hostile = Hostile(seed, TO_WORKER)
    ours, theirs = socket.socketpair()
    looked = 0
    while tally.frames < frames:
        channel = Channel(theirs, Gate())
        channel.on_broken = _broken
        tally.sessions += 1
        for key in (0, 7, "w0", "w7"):
            channel.expect(key, Waiter())
        try:
            while tally.frames < frames:
                tally.frames += 1
                ours.sendall(hostile.frame())
                channel.read_available()
                while channel.inbox:
                    message = channel.inbox.popleft()
                    assert message["type"] in KINDS
                    tally.ended += message["type"] == "execute"
                if channel._decoder.pending_bytes > UNFINISHED_BYTES_MAX:
                    break
        except Broken:
            tally.refused += 1
        finally:
            os.close(channel._main_wake)
            os.close(channel._lead_wake)
        if tally.frames - looked >= 20_000:
            looked = tally.frames
            memory.look(looked)
    memory.look(tally.frames)
    ours.close()
    theirs.close()
    tally.growth_bytes, tally.seconds = memory.growth, monotonic() - began
    return tally


def main() -> None:
    """Both ends, and what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=2_000_000, help="at each end")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--end", choices=("engine", "worker"), help="only this one")
    chosen = parser.parse_args()
    if chosen.end != "worker":
        print("engine:", asyncio.run(engine_end(chosen.frames, chosen.seed)), flush=True)
    if chosen.end != "engine":
        print("worker:", worker_end(chosen.frames, chosen.seed), flush=True)


if __name__ == "__main__":
    main()
