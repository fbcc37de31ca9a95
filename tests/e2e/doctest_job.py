"""The engine of the doctest corpus: examples as cells of sessions, one JSON line after the other (doctest_corpus).

`run`: a cell of a session, and what is done then with its worker: `killed`, `forgotten` (it ends as after a rest),
`parked` (while a person thinks). `report`: what the session's checkpoints say is lost or made anew. `close`: a session.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from typing import Any

import durable
from durable.core.events import Event, WorkerEnded
from tests.e2e.doctest_plain import together
from tests.waiting import first_prompt

KEPT_S = 5.0


class Job:
    def __init__(self, engine: durable.Engine) -> None:
        self._engine = engine

    async def run(self, session: str, code: str, then: str) -> dict[str, Any]:
        desk = await self._engine.session(session)
        result = await desk.execute(code)
        error, text = result.error, ""
        if error is not None:
            message = getattr(error, "exception_message", str(error))
            text = f"{getattr(error, 'exception_type', type(error).__name__)}: {message}"
        told = [*getattr(error, "__notes__", ()), *map(str, result.failures), text, result.not_saved or ""]
        if then:
            await getattr(self, then)(desk)
        return {"said": together(result.stdout, result.repr, text), "told": "\n".join(told)}

    async def killed(self, desk: durable.Session) -> None:
        (await self._engine.live(desk.name)).kill_worker()

    async def forgotten(self, desk: durable.Session) -> None:
        await (await self._engine.live(desk.name)).give()

    async def parked(self, desk: durable.Session) -> None:
        execution = await desk.submit("if ask('go on?'): pass")
        prompt = await first_prompt(self._engine)
        with suppress(TimeoutError):  # one that holds what no checkpoint can keeps its worker
            await asyncio.wait_for(Ends.one.wait(), KEPT_S)
        await self._engine.answer(prompt.id, "yes")
        await desk.result(execution.id)

    async def report(self, session: str) -> list[list[str]]:
        history = self._engine.checkpoints_of(session)
        found: dict[str, list[str]] = {}
        for info in await history.listing():
            _info, opened = await history._read(info.id)
            contents = opened.manifest.contents
            found |= {entry.name: [entry.name, entry.kind, entry.reason] for entry in contents.lost}
            found |= {entry.name: [entry.name, "", entry.how] for entry in contents.rebuilt}
        return list(found.values())

    async def close(self, session: str) -> None:
        await (await self._engine.session(session)).close()


class Ends:
    """Set each time that a worker ended."""

    one = asyncio.Event()


def observe(event: Event) -> None:
    if isinstance(event, WorkerEnded):
        Ends.one.set()


async def main(place: str, preload: list[str]) -> None:
    keep = durable.Keep(last=1000)
    lines = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with durable.open(
        place, parked=0, observer=observe, preload=preload, keep=keep, durability="process"
    ) as engine:
        job = Job(engine)
        while line := await lines.readline():
            asked = json.loads(line)
            Ends.one.clear()
            print(json.dumps(await getattr(job, asked.pop("do"))(**asked)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
