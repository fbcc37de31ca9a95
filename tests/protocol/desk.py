"""A running worker session with its traffic recorded; what every protocol test stands on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from bridge.host.worker_session import WorkerSession
from bridge.launch.launcher import WorkerLauncher
from bridge.protocol.messages import Call, CallError, CallResult, Checkpoint, Error, Execute, Output, Result, Waiting
from bridge.protocol.output_rules import OutputRules
from durable.core.events import Event


class Desk:
    """`run` executes; `answers` (capability -> function of the call) answers calls, `answer` those it leaves open.

    `keep` keeps checkpoints instead of noting them.
    """

    def __init__(
        self,
        capabilities: tuple[str, ...] = (),
        launcher: WorkerLauncher | None = None,
        output: OutputRules | None = None,
    ) -> None:
        self.outputs: list[Output] = []
        self.calls: list[Call] = []
        self.checkpoints: list[Checkpoint] = []
        self.waitings: list[Waiting] = []
        self.events: list[Event] = []
        self.answers: dict[str, Callable[[Call], object]] = {}
        self.keep: Callable[[Checkpoint], Awaitable[None]] | None = None
        self._changed = asyncio.Event()
        self._n = 0
        self.session = WorkerSession(
            "desk",
            on_call=self._on_call,
            on_checkpoint=self._on_checkpoint,
            on_output=lambda message: self._note(self.outputs, message),
            on_waiting=lambda message: self._note(self.waitings, message),
            capabilities=capabilities,
            observer=self.events.append,
            launcher=launcher,
            output=output,
        )

    def _note[T](self, where: list[T], what: T) -> None:
        where.append(what)
        self._changed.set()

    async def _on_call(self, call: Call) -> CallResult | None:
        self._note(self.calls, call)
        answer = self.answers.get(call.capability)
        if answer is None:
            return None
        value = answer(call)
        if isinstance(value, CallError):
            return CallResult(call=call.call, error=value)
        return CallResult(call=call.call, value=value)

    async def _on_checkpoint(self, message: Checkpoint) -> None:
        if self.keep is not None:
            await self.keep(message)
        else:
            self._note(self.checkpoints, message)

    def answer(self, call: Call, value: object) -> None:
        self.session.answer(call.call, CallResult(call=call.call, value=value))

    async def until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        """Wait until the traffic makes `condition` true."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def request(self, code: str, **fields: object) -> Execute:
        self._n += 1
        return Execute(**{"id": f"desk@{self._n}", "code": code, "checkpoint": "none", **fields})  # type: ignore[arg-type]

    async def run(self, code: str, seconds: float = 30, **fields: Any) -> Result | Error:
        async with asyncio.timeout(seconds):
            return await self.session.execute(self.request(code, **fields))

    async def value(self, code: str, **fields: Any) -> object:
        result = await self.run(code, **fields)
        assert isinstance(result, Result), result.traceback
        return result.value

    async def error(self, code: str, **fields: Any) -> Error:
        result = await self.run(code, **fields)
        assert isinstance(result, Error), result
        return result

    def start(self, code: str, **fields: object) -> asyncio.Task[Result | Error]:
        return asyncio.get_running_loop().create_task(self.session.execute(self.request(code, **fields)))

    def text(self, stream: str = "stdout", execution: str | None = None) -> str:
        return "".join(
            one.data
            for one in self.outputs
            if one.stream == stream and (execution is None or one.execution_id == execution)
        )


@asynccontextmanager
async def running(
    capabilities: tuple[str, ...] = (), launcher: WorkerLauncher | None = None, output: OutputRules | None = None
) -> AsyncIterator[Desk]:
    """A desk whose worker runs; it is killed afterwards."""
    desk = Desk(capabilities, launcher, output)
    await desk.session.start()
    try:
        yield desk
    finally:
        desk.session.kill()
        await desk.session.wait_ended()
