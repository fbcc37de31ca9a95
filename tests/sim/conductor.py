"""Decides what happens next, outside of the function: which step ends, which question is answered, when time passes.

When everything is idle the conductor looks at what is outstanding and lets one thing go. The choice depends on the seed
and on what is outstanding, on nothing else, so a run that was killed and started again has the same races as one that
was not. Time is the conductor's too: the wall clock stands still between two decisions.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import durable
from durable.core.clock import TIME_MAX_MS
from durable.core.events import Event
from durable.functions.step import StepThreads
from durable.records.values import unpack
from durable.store.sqlite.store import Store
from durable.store.writer import Writer

from .journal import CANCEL, Journal, Told

BEGIN_MS = 1_800_000_000_000
IDLE_TURNS = 40
"""Turns of the loop without anything new after which nothing is under way inside the process."""
SHORT_S = 0.5
"""A shorter delay of the engine belongs to what is under way; it need not be waited for."""
HASTENED_MAX = 4
"""How many of them in a row: more are something that looks again and again."""
THREAD_WAIT_S = 0.3
"""How long a thread may take from its effect to the record: one that nobody waits for is not recorded at all."""
CANCELS = (2, 3, 5, 8, 12)
"""The execution is cancelled in place of one in so many decisions."""
GRACE_S = 1e7
"""For its clean-up: nothing that a program waits for takes so long."""
STUCK_JUMPS = 40
"""Seconds by which time is moved on before a function that waits for nothing known is called stuck."""

type When = Literal["before", "after", "effect", "idle"]


@dataclass(frozen=True)
class Kill:
    """Where a life ends. After how many decisions; at which commit after the last of them, before or after it is made;
    or once the step that was let go had its effect; or when all is idle again."""

    decisions: int
    when: When
    commit: int = 0

    def __str__(self) -> str:
        return f"{self.decisions}.{self.when}.{self.commit}"

    @staticmethod
    def of(text: str) -> Kill:
        decisions, when, commit = text.split(".")
        return Kill(int(decisions), when, int(commit))  # type: ignore[arg-type]


class Time:
    """The clocks of this process: wall time stands still, both clocks can be moved on."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self._jumped_s = 0.0
        self._monotonic = time.monotonic

    def install(self) -> None:
        real = self._monotonic
        time.time_ns = lambda: self.now_ms * 1_000_000
        time.time = lambda: self.now_ms / 1000
        time.monotonic = lambda: real() + self._jumped_s

    def tick(self) -> None:
        self.now_ms += 1

    def pass_by(self, seconds: float) -> None:
        """Move on what delays are measured with; the wall clock stands still."""
        self._jumped_s += seconds

    def jump(self, now_ms: int) -> None:
        """Move on to that wall time."""
        self._jumped_s += max(0, now_ms - self.now_ms) / 1000
        self.now_ms = max(now_ms, self.now_ms)


class Conductor:
    """One life of one execution."""

    def __init__(
        self, seed: int, store: Path, told: Told, journal: Journal, kill: Kill | None, *, cancels: bool = False
    ) -> None:
        self.journal = journal
        self._seed = seed
        self._cancels = random.Random(f"cancel {seed}").choice(CANCELS) if cancels else 0
        self._cancelling: asyncio.Task[bool] | None = None
        self._path = store
        self._kill = kill
        earlier = told.of("decision")
        self._times = {line["key"]: line["now_ms"] for line in reversed(earlier)}
        self.time = Time(earlier[-1]["now_ms"] if earlier else BEGIN_MS)
        self._gates: dict[str, list[asyncio.Future[None] | threading.Event]] = {}
        self._lock = threading.Lock()
        self._busy = 0
        self._threads = 0
        self._posts = 0
        self._effects = 0
        self._changes = 0
        self._numbers: dict[str, int] = {}
        self.decisions = 0
        self._commits = 0
        self._file: sqlite3.Connection | None = None
        self._store: Store | None = None
        self.engine: durable.Engine | None = None
        self._read = {line["stream"]: line["offset"] for line in told.of("read")}
        """The last offset that a reader got of each stream, in this life or an earlier one."""

    # -- steps ----------------------------------------------------------------------------------------------------

    async def permission(self, tag: str) -> None:
        """Return when the conductor lets this step go on."""
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._enter(tag, gate)
        try:
            await gate
        finally:
            self._leave(tag, gate)

    def permission_in_thread(self, tag: str) -> None:
        gate = threading.Event()
        self._enter(tag, gate)
        self._count(threads=-1)
        gate.wait()

    def _enter(self, tag: str, gate: asyncio.Future[None] | threading.Event) -> None:
        with self._lock:
            self._gates.setdefault(tag, []).append(gate)
            self._changes += 1

    def _leave(self, tag: str, gate: asyncio.Future[None] | threading.Event) -> None:
        with self._lock:
            gates = self._gates.get(tag, [])
            if gate in gates:
                gates.remove(gate)
            if not gates:
                self._gates.pop(tag, None)
            self._changes += 1

    def effect(self, tag: str, name: str, arguments: list[Any], value: Any) -> None:
        """Write down that a step did what it does; it has not returned yet."""
        self.journal.write("effect", tag=tag, name=name, arguments=arguments, value=value)
        with self._lock:
            self._effects += 1
        if self._kill is not None and self._kill.when == "effect" and self.decisions == self._kill.decisions:
            os.kill(os.getpid(), signal.SIGKILL)

    def retries(self, promise_id: str) -> int:
        """How often the step of this promise is recorded to have failed."""
        with sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True) as file:
            beneath = (f"{promise_id}:retry:", f"{promise_id}:retry;")
            (found,) = file.execute("SELECT count(*) FROM promises WHERE id > ? AND id < ?", beneath).fetchone()
        file.close()
        return int(found)

    # -- the log ----------------------------------------------------------------------------------------------------

    def observe(self, event: Event) -> None:
        """The engine's observer."""
        if type(event).__name__ == "Logged":
            found: Any = event
            self.journal.write("log", context=found.function, number=found.number, text=found.text)

    def new_pass(self) -> None:
        """The function begins from its beginning."""
        self._numbers.clear()

    def log_without_engine(self, context: str, text: str) -> None:
        number = self._numbers[context] = self._numbers.get(context, 0) + 1
        self.journal.write("log", context=context, number=number, text=text)

    # -- what is under way ------------------------------------------------------------------------------------------

    def _count(self, busy: int = 0, threads: int = 0, posts: int = 0) -> None:
        with self._lock:
            self._busy += busy
            self._threads += threads
            self._posts += posts
            self._changes += 1

    def watch(self) -> None:
        """Count the store's work and the threads of steps, and see each commit, from here on in this process."""
        submit, committed, opened, run = Writer.submit, Store._committed, Store.open, StepThreads.run
        conductor = self

        def submitted(writer: Writer, job: Any) -> None:
            conductor._count(busy=1, posts=1)
            submit(writer, job)

        def told(store: Store, jobs: list[Any], *more: Any) -> None:
            committed(store, jobs, *more)
            conductor._count(busy=-len(jobs))

        async def watched(_cls: type[Store], path: Any, **options: Any) -> Store:
            conductor._store = await opened(path, **{**options, "fault": conductor._fault})
            return conductor._store

        async def in_thread(threads: StepThreads, call: Callable[[], Any]) -> Any:
            conductor._count(threads=1)  # until the step asks for permission
            return await run(threads, call)

        Writer.submit = submitted  # type: ignore[method-assign,assignment]
        Store._committed = told  # type: ignore[method-assign,assignment]
        Store.open = classmethod(watched)  # type: ignore[method-assign,assignment,arg-type]
        StepThreads.run = in_thread  # type: ignore[method-assign,assignment]

    def _fault(self, when: Literal["before", "after"], sql: str) -> None:
        """On the writer's thread."""
        if sql != "COMMIT":
            return
        kill = self._kill
        if kill is not None and (self.decisions, when, self._commits) == (kill.decisions, kill.when, kill.commit):
            os.kill(os.getpid(), signal.SIGKILL)
        if when == "after":
            self._commits += 1

    async def idle(self) -> None:
        """Return when nothing goes on in this process: no write, no thread on its way, no callback that matters."""
        turns, seen, hastened = 0, -1, 0
        while turns < IDLE_TURNS:
            await asyncio.sleep(0)
            with self._lock:
                still = self._busy == 0 and self._threads == 0 and seen == self._changes
                still = still and not (self._store and self._store._searches)
                seen = self._changes
            turns = turns + 1 if still else 0
            if not still and self._busy:
                await asyncio.sleep(0.0002)
            if turns == IDLE_TURNS and hastened < HASTENED_MAX and self._hasten():
                turns, hastened = 0, hastened + 1

    def _hasten(self) -> bool:
        """Let the engine's next short delay pass now; whether there was one."""
        loop: Any = asyncio.get_running_loop()
        delays = [timer.when() - loop.time() for timer in loop._scheduled if not timer.cancelled()]
        delay = min(delays, default=SHORT_S)
        if delay < SHORT_S:
            self.time.pass_by(max(0.0, delay) + 0.001)
        return delay < SHORT_S

    # -- decisions ----------------------------------------------------------------------------------------------------

    async def conduct(self, engine: durable.Engine, execution: durable.Execution[Any]) -> str:
        """Let one thing after another go until the execution ended, was halted or is stuck; which of these."""
        jumps = 0
        self.engine = engine
        while True:
            await self.idle()
            state, prompts, deadline = self._look(execution.promise_id)
            self._read_on()
            if state:
                return state
            with self._lock:
                keys = [*self._gates, *prompts]
            if deadline is not None:
                keys.append("time passes " + " ".join(sorted(keys)))
            if not keys:
                if jumps >= STUCK_JUMPS:
                    return "stuck"
                jumps += 1
                await self._jump(engine, execution, self.time.now_ms + 1000)
                await asyncio.sleep(0.002)
                continue
            jumps = 0
            key = min(keys, key=self._rank)
            moment = " ".join([CANCEL, *sorted(keys)])
            if self._cancels and int.from_bytes(self._rank(moment)) % self._cancels == 0:
                key = key if self._cancelled(execution.promise_id) else moment
            due = deadline is not None and deadline <= self.time.now_ms + 1 and key not in self._times
            if deadline is not None and (due or key.startswith("time")):  # no other decision passes a deadline by
                self._decide(f"time passes to {deadline}", deadline)
                await self._jump(engine, execution, deadline)
                continue
            self._decide(key)
            if key == moment:
                self._cancelling = asyncio.create_task(engine.cancel(execution.id, grace=GRACE_S))
                await asyncio.sleep(0)
            elif key in prompts:
                await self._bring(engine, key)
            else:
                await self._release(key)

    def _read_on(self) -> None:
        """What a reader of all streams gets now: written down, since it got it."""
        for name, offset, value, step, position, _ in self.streams():
            if offset > self._read.get(name, -1):
                self._read[name] = offset
                self.journal.write("read", stream=name, offset=offset, value=value, step=step, position=position)

    def streams(self) -> list[tuple[str, int, Any, str | None, int | None, str]]:
        """All items of the execution's streams: name, offset, value, step, position, the function or step it is of."""
        assert self._file is not None
        rows = self._file.execute(
            "SELECT i.name, i.n, i.step, i.position, p.id, p.param_data FROM stream_items i"
            " JOIN promises p ON p.id = i.promise WHERE i.execution = 'exec:run' ORDER BY i.name, i.n"
        ).fetchall()
        return [
            (name, n + at, value, step, position and position + at, step or promise.rpartition(".")[0])
            for name, n, step, position, promise, data in rows
            for at, value in enumerate(unpack(data)["items"])
        ]

    async def _bring(self, engine: durable.Engine, key: str) -> None:
        """What an open question, a wait for a signal or a promise for outsiders waits for."""
        if ":input:" in key:
            await engine.answer(key, f"answer to {key}")
        elif key.startswith("signal "):
            _, name, wait = key.split(" ")
            await engine.signal("run", name, f"sent to {wait}", key=wait)
        else:
            await engine.settle(key, f"settled {key}")

    def _rank(self, key: str) -> bytes:
        return hashlib.blake2b(f"{self._seed} {key}".encode(), digest_size=8).digest()

    def _decide(self, key: str, until_ms: int | None = None) -> None:
        """Write the decision down, with the wall time that it leads to: the same in each life that makes it."""
        kill = self._kill
        if kill is not None and self.decisions >= kill.decisions:
            self.journal.write("idle")  # killed while nothing was under way: all that was had is recorded
            os.kill(os.getpid(), signal.SIGKILL)
        if until_ms is None and key not in self._times:
            self.time.tick()
        now_ms = self.time.now_ms if until_ms is None else until_ms
        self.journal.write("decision", key=key, now_ms=now_ms, commits=self._commits)
        self.decisions += 1
        self._commits = 0

    async def _release(self, tag: str) -> None:
        """Let a step go on, and wait until it had its effect and its result is on the way to the record, if it is."""
        with self._lock:
            gate, posts, effects = self._gates[tag][0], self._posts, self._effects
        in_thread = isinstance(gate, threading.Event)
        if isinstance(gate, threading.Event):
            self._leave(tag, gate)
            gate.set()
        else:
            gate.set_result(None)
        while self._effects == effects:  # noqa: ASYNC110 - a thread counts
            await asyncio.sleep(0)
        until = time.perf_counter() + (THREAD_WAIT_S if in_thread else 0)
        turns = 0
        while self._posts == posts and (turns < IDLE_TURNS or time.perf_counter() < until):
            await asyncio.sleep(0.0002 if in_thread else 0)
            turns += 1

    async def _jump(self, engine: durable.Engine, execution: durable.Execution[Any], now_ms: int) -> None:
        self.time.jump(now_ms)
        await engine.store.request("promise.get", {"id": execution.promise_id})

    def _cancelled(self, root: str) -> bool:
        """Whether it is recorded that the execution is to end."""
        assert self._file is not None
        found = self._file.execute("SELECT 1 FROM tasks WHERE id=? AND cancel_at IS NOT NULL", (root,)).fetchone()
        return found is not None

    def _look(self, root: str) -> tuple[str, list[str], int | None]:
        """From the file: how the execution ended, the open questions, when the next timer is due (ms)."""
        if self._file is None:
            self._file = sqlite3.connect(self._path, isolation_level=None)
        state = self._file.execute(
            "SELECT p.state, t.state FROM promises p JOIN tasks t ON t.id = p.id WHERE p.id=?", (root,)
        ).fetchone()
        if state[0] != "pending":
            return state[0], [], None
        if state[1] == "halted":
            return "interrupted", [], None
        pending = self._file.execute("SELECT id, timeout_at, tags FROM promises WHERE state='pending'").fetchall()
        deadlines = [timeout_at for _, timeout_at, _ in pending if timeout_at < TIME_MAX_MS]
        brought = [_awaited(id, json.loads(tags)) for id, _, tags in pending]
        return "", [key for key in brought if key], min(deadlines, default=None)


def _awaited(promise_id: str, tags: dict[str, str]) -> str:
    """What the conductor brings to a pending promise, as a decision; "" where that is nothing of its own."""
    if "durable:signal" in tags:
        return f"signal {tags['durable:signal']} {promise_id}"
    return promise_id if ":input:" in promise_id or tags.get("durable:kind") == "promise" else ""
