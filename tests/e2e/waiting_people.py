"""Sessions and functions that wait for people: `python -m tests.e2e.waiting_people --sessions 1000 --functions 1000`.

An engine in a process of its own runs them until each has asked. Then nothing may be held: no worker, no more than
MEMORY_BYTES_MAX of memory each. They are answered from this process in random order, the engine killed twice meanwhile.
Each must end with its own answer, and none may have been asked twice.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import durable
from durable.sessions.execution import runner
from durable.store.sqlite.idle_memory import REST_S
from tests.warm_python import PYTHON

MEMORY_BYTES_MAX = 4096
MEASURED_MIN = 500
"""With fewer, what a page holds says nothing of each."""

WAVE = 16
"""Sessions that are begun at once: each has a worker until it waits."""

WARM = 48
"""Of each kind: imports, caches and connections are there by then."""

CELL = "x = {n}\nanswer = ask('session {n}?', to=['ana'])\nf'{{x}}: {{answer}}'"


@durable.function
async def asks(ctx: durable.Context, n: int) -> str:
    return f"{n}: " + await ctx.ask(f"function {n}?", to=["ana"])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was seen. Bytes of resident memory, seconds.

    bytes_each: of the engine that began them, from before the first (imports too) to when all wait; `warm`: from when
    the first WARM of each kind wait. restarted: of one that was started when all had asked.
    """

    sessions: int
    functions: int
    bytes_each: int
    bytes_each_warm: int
    workers: int
    bytes_each_restarted: int
    begin_s: float
    answer_s: float
    finish_s: float
    kills: int
    wrong: int
    asked_twice: int

    def check(self) -> None:
        """Raises AssertionError for what did not hold."""
        assert (self.workers, self.wrong, self.asked_twice, self.kills) == (0, 0, 0, 2), self

    def check_memory(self) -> None:
        """Means something for many only: pages are not given back one by one."""
        assert max(self.bytes_each, self.bytes_each_warm, self.bytes_each_restarted) <= MEMORY_BYTES_MAX, self


async def serve(store: str) -> None:
    """The engine's process: runs what is asked of it, and tells its memory and workers when a line comes."""
    vars(runner)["IDLE_S"] = 0.1  # a session that ended keeps its worker for minutes, which others wait for here
    async with durable.open(store, parked=0, durability="process", pool=durable.Pool(max=WAVE)) as engine:
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        print("ready", flush=True)
        while await reader.readline():
            print(json.dumps({"rss": _resident(), "workers": engine.workers.live}), flush=True)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class Serving:
    """An engine in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def figures(self) -> tuple[int, int]:
        """Its resident memory in bytes, and its workers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"?\n")
        found = json.loads(await self._process.stdout.readline())
        return found["rss"], found["workers"]

    async def kill(self) -> None:
        """SIGKILL."""
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()


@asynccontextmanager
async def serving(store: Path) -> AsyncIterator[Serving]:
    """An engine, killed at the end."""
    command = (PYTHON, "-m", "tests.e2e.waiting_people", "--serve", str(store))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        yield Serving(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def campaign(folder: Path, sessions: int, functions: int, seed: int) -> Outcome:
    """The whole of it."""
    store, chance = folder / "work.db", random.Random(seed)
    async with durable.open(store, serve=False, durability="process") as client:
        began = time.monotonic()
        async with serving(store) as first:
            before = (await first.figures())[0]
            names = await _begin(client, 0, min(WARM, sessions), 0, min(WARM, functions))
            warm = (await first.figures())[0]
            names += await _begin(client, min(WARM, sessions), sessions, min(WARM, functions), functions)
            begin_s = time.monotonic() - began
            await _until(client, lambda: _no_workers(first))
            if len(names) >= MEASURED_MIN:
                await asyncio.sleep(REST_S + 1)
            after, workers = await first.figures()
            each = max(1, len(names) - 2 * WARM)
            prompts = await client.prompts()
            assert len(prompts) == len(names), (len(prompts), len(names))
            chance.shuffle(prompts)
            third = len(prompts) // 3
            began = time.monotonic()
            ends = [asyncio.create_task(_end(client, id_, n)) for id_, n in names]
            await _answer(client, prompts[:third])
            await first.kill()
        async with serving(store) as second:
            fresh = (await second.figures())[0]
            await _answer(client, prompts[third : 2 * third])
            await second.kill()
        async with serving(store) as third_one:
            again = (await third_one.figures())[0]
            await _answer(client, prompts[2 * third :])
            answer_s = time.monotonic() - began
            async with asyncio.timeout(1_800):
                wrong = sum(await asyncio.gather(*ends))
            finish_s = time.monotonic() - began
        asked = 0
        for id_, _ in names:
            found = await client.store.reads.children(id_)
            asked += sum(row.tags.get("durable:capability") == "input" for row in found)
    return Outcome(
        sessions=sessions,
        functions=functions,
        bytes_each=(after - before) // len(names),
        bytes_each_warm=(after - warm) // each,
        workers=workers,
        bytes_each_restarted=max(0, again - fresh) // each,
        begin_s=begin_s,
        answer_s=answer_s,
        finish_s=finish_s,
        kills=2,
        wrong=wrong,
        asked_twice=asked - len(names),
    )


async def _begin(client: durable.Engine, s0: int, s1: int, f0: int, f1: int) -> list[tuple[str, int]]:
    """Begin those, and wait until each has asked."""
    names = []
    for n in range(f0, f1):
        names.append(((await client.start(asks, n, id=f"f{n}")).id, n))
    for n in range(s0, s1):
        session = await client.session(f"s{n}")
        names.append(((await session.submit(CELL.format(n=n))).id, n))
        if n % WAVE == WAVE - 1:
            await _asked(client, n + 1)
    await _asked(client, s1 + f1)
    return names


async def _asked(client: durable.Engine, count: int) -> None:
    async def enough() -> bool:
        return len(await client.prompts()) >= count

    await _until(client, enough)


async def _no_workers(engine: Serving) -> bool:
    return (await engine.figures())[1] == 0


async def _until(client: durable.Engine, look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(1_800):
        while True:
            change = client.changed()
            if await look():
                return
            await asyncio.wait([change], timeout=0.25)  # a worker's end is no change of the store


async def _end(client: durable.Engine, id_: str, n: int) -> bool:
    """Wait for the end; whether the value is wrong."""
    value = await (await client.get(id_)).result()
    if isinstance(value, dict):
        value = value["value"]
    return value != f"{n}: said {n}"


async def _answer(client: durable.Engine, prompts: list[durable.OpenPrompt]) -> None:
    for prompt in prompts:
        assert await client.answer(prompt.id, "said " + prompt.question.split()[1].rstrip("?"), by="ana")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.waiting_people", description=__doc__)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--functions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--serve", metavar="STORE", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        asyncio.run(serve(given.serve))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(campaign(Path(folder), given.sessions, given.functions, given.seed))
    print(json.dumps(asdict(found), indent=2))
    found.check()
    if given.sessions + given.functions >= MEASURED_MIN:
        found.check_memory()


if __name__ == "__main__":
    main()
