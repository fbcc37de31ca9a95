"""The kernel: requests of front ends, answered from one durable session (specs/jupyter.md)."""

from __future__ import annotations

import asyncio
import gc
import platform
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from durable.core.errors import DurableError
from durable.core.frozen_record import FrozenRecord
from durable.integrations.jupyter.code_checks import completeness
from durable.integrations.jupyter.kernel_sockets import KernelSocket, KernelSockets
from durable.integrations.jupyter.kernel_wire import NOBODY, PROTOCOL, KernelMessage

if TYPE_CHECKING:
    from durable.integrations.jupyter.cell_runner import CellRunner

GREETED_S = 0.05
"""For the first request, which asks whether the kernel is there: an import beside it would take as long again."""

ABORTED: dict[str, Any] = {"status": "aborted"}


class KernelOptions(FrozenRecord, frozen=True):
    """How a kernel was installed, and what it was started for."""

    store: str | None
    session: str
    unnamed: bool
    notebook: str | None
    profile: str | None
    directory: Path


def kernel_info() -> dict[str, Any]:
    """The reply to `kernel_info_request`."""
    version = platform.python_version()
    return {
        "status": "ok",
        "protocol_version": PROTOCOL,
        "implementation": "durable-exec",
        "implementation_version": "0.1.0",
        "language_info": {
            "name": "python",
            "version": version,
            "mimetype": "text/x-python",
            "file_extension": ".py",
            "pygments_lexer": "ipython3",
            "codemirror_mode": {"name": "ipython", "version": 3},
            "nbconvert_exporter": "python",
        },
        "banner": f"Python {version} in a durable session: variables outlive the kernel. `%durable` says how.",
        "help_links": [],
        "supported_features": [],
    }


class Kernel:
    """Reads requests and sends replies. What needs the engine waits until that is imported."""

    def __init__(self, sockets: KernelSockets, options: KernelOptions) -> None:
        self.sockets = sockets
        self.options = options
        self._queue: asyncio.Queue[KernelMessage] = asyncio.Queue()
        self._ended = asyncio.Event()
        self._inputs: asyncio.Queue[KernelMessage] = asyncio.Queue()
        self._runner: CellRunner | None = None
        self._greeted = asyncio.Event()
        self._loading = asyncio.ensure_future(self._loaded())
        self._tasks: set[asyncio.Future[Any]] = set()
        self._restarts = False

    async def run(self) -> None:
        """Until a front end, or whoever started the kernel, ends it."""
        self.sockets.listen(self.sockets.shell, self._shell)
        self.sockets.listen(self.sockets.control, self._control)
        self.sockets.listen(self.sockets.stdin, self._stdin)
        self._beside(self._execute_all())
        self._beside(self._opened())
        self.sockets.publish("status", {"execution_state": "starting"}, NOBODY)
        await self._ended.wait()
        for task in self._tasks:
            task.cancel()
        if self._runner is not None:
            await self._runner.close(forget=self.options.unnamed and not self._restarts)

    async def _loaded(self) -> Any:
        """The engine's part, imported in a thread once a front end was told that the kernel is there."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GREETED_S):
                await self._greeted.wait()
        return await asyncio.to_thread(_load)

    def end(self) -> None:
        """Let `run` return."""
        self._ended.set()

    def _beside(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and not self._ended.is_set() and (error := task.exception()) is not None:
            self.sockets.publish("stream", {"name": "stderr", "text": f"durable: {error!r}\n"}, NOBODY)

    # -- channels -----------------------------------------------------------------------------------------------

    def _shell(self, message: KernelMessage) -> None:
        if message.kind in ("execute_request", "comm_open", "comm_msg", "comm_close"):
            self._queue.put_nowait(message)
        else:
            self._beside(self._answer(self.sockets.shell, message))

    def _control(self, message: KernelMessage) -> None:
        self._beside(self._answer(self.sockets.control, message))

    def _stdin(self, message: KernelMessage) -> None:
        if message.kind == "input_reply":
            self._inputs.put_nowait(message)

    async def _answer(self, socket: KernelSocket, message: KernelMessage) -> None:
        """Answer a request that need not wait for cells."""
        handler = {
            "kernel_info_request": self._kernel_info,
            "is_complete_request": self._is_complete,
            "complete_request": self._complete,
            "inspect_request": self._inspect,
            "history_request": self._history,
            "comm_info_request": self._comm_info,
            "interrupt_request": self._interrupt,
            "shutdown_request": self._shutdown,
        }.get(message.kind)
        if handler is None:
            return
        self._status("busy", message)
        try:
            content = await handler(message.content)
        except Exception as error:
            content = _failed(error)
        self.sockets.reply(socket, message.kind.replace("_request", "_reply"), content, message)
        self._status("idle", message)
        self._greeted.set()
        if message.kind == "shutdown_request":
            self.end()

    def _status(self, state: str, parent: KernelMessage) -> None:
        self.sockets.publish("status", {"execution_state": state}, parent)

    # -- requests -----------------------------------------------------------------------------------------------

    async def _kernel_info(self, _: dict[str, Any]) -> dict[str, Any]:
        return kernel_info()

    async def _is_complete(self, content: dict[str, Any]) -> dict[str, Any]:
        return completeness(str(content.get("code", "")))

    async def _complete(self, content: dict[str, Any]) -> dict[str, Any]:
        cursor = int(content.get("cursor_pos") or 0)
        empty = {"matches": [], "cursor_start": cursor, "cursor_end": cursor, "types": []}
        runner = await self._opened()
        try:
            found = await runner.ask("complete", {"code": content.get("code"), "cursor_pos": cursor})
        except DurableError:
            found = None  # the user's own `__getattr__` took too long
        given = found if isinstance(found, dict) else empty
        return {
            "status": "ok",
            "matches": given["matches"],
            "cursor_start": given["cursor_start"],
            "cursor_end": given["cursor_end"],
            "metadata": {"_jupyter_types_experimental": given["types"]},
        }

    async def _inspect(self, content: dict[str, Any]) -> dict[str, Any]:
        asked = {name: content.get(name) for name in ("code", "cursor_pos", "detail_level")}
        found = await (await self._opened()).ask("inspect", asked)
        if not isinstance(found, dict) or not found["found"]:
            return {"status": "ok", "found": False, "data": {}, "metadata": {}}
        return {"status": "ok", "found": True, "data": {"text/plain": found["text"]}, "metadata": {}}

    async def _history(self, content: dict[str, Any]) -> dict[str, Any]:
        return {"status": "ok", "history": await (await self._opened()).history(content)}

    async def _comm_info(self, content: dict[str, Any]) -> dict[str, Any]:
        target = content.get("target_name")
        comms = {} if self._runner is None else self._runner.comms
        return {
            "status": "ok",
            "comms": {name: {"target_name": one} for name, one in comms.items() if target in (None, "", one)},
        }

    async def _interrupt(self, _: dict[str, Any]) -> dict[str, Any]:
        if self._runner is not None:
            await self._runner.interrupt()
        return {"status": "ok"}

    async def _shutdown(self, content: dict[str, Any]) -> dict[str, Any]:
        self._restarts = bool(content.get("restart"))
        if self._restarts and self._runner is not None:
            await self._runner.restart()
        return {"status": "ok", "restart": self._restarts}

    # -- cells --------------------------------------------------------------------------------------------------

    async def _opened(self) -> CellRunner:
        """The runner of cells, which opens the session; a problem of the store is told with each cell."""
        cell_runner = await self._loading
        if self._runner is None:
            self._runner = cell_runner.CellRunner(self.sockets, self.options, self._inputs)
        await self._runner.open()
        return self._runner

    async def _execute_all(self) -> None:
        while True:
            message = await self._queue.get()
            is_cell = message.kind == "execute_request"
            recording = self._runner.begin_recording(message) if is_cell and self._runner is not None else None
            self._status("busy", message)
            try:
                if not is_cell:
                    await (await self._opened()).deliver(message)
                    continue
                reply = await self._execute(message, recording)
                self.sockets.reply(self.sockets.shell, "execute_reply", reply, message)
            finally:
                self._status("idle", message)
            if reply["status"] == "error" and message.content.get("stop_on_error", True):
                await self._abort()

    async def _execute(self, message: KernelMessage, recording: asyncio.Task[str] | None) -> dict[str, Any]:
        try:
            return await (await self._opened()).execute(message, recording)
        except Exception as error:
            content = _failed(error)
            count = 0 if self._runner is None else self._runner.count
            self.sockets.publish("error", {key: content[key] for key in ("ename", "evalue", "traceback")}, message)
            return {**content, "execution_count": count, "payload": [], "user_expressions": {}}

    async def _abort(self) -> None:
        """Tell those who sent more cells that these are not run, since one before them failed."""
        await asyncio.sleep(0)
        while not self._queue.empty():
            message = self._queue.get_nowait()
            self._status("busy", message)
            if message.kind == "execute_request":
                self.sockets.reply(self.sockets.shell, "execute_reply", ABORTED, message)
            self._status("idle", message)


def _failed(error: Exception) -> dict[str, Any]:
    """An error of ours as a reply: what happened, what to do."""
    name = type(error).__name__
    text = str(error) if isinstance(error, DurableError | OSError) else repr(error)
    return {"status": "error", "ename": name, "evalue": text, "traceback": [f"{name}: {text}"]}


def _load() -> Any:
    """Import the engine: most of a kernel's start, while its sockets answer already."""
    found = import_module("durable.integrations.jupyter.cell_runner")
    gc.freeze()
    gc.enable()
    return found
