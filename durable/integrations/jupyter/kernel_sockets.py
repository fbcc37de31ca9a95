"""The five sockets of a kernel (specs/jupyter.md, Wire)."""

from __future__ import annotations

import errno
import threading
from collections.abc import AsyncIterator, Sequence
from importlib import import_module
from typing import Any

from durable.core.background import beside
from durable.core.errors import ProtocolError
from durable.core.events import BackgroundFailed, log_event
from durable.integrations.jupyter.kernel_wire import NOBODY, KernelMessage, KernelWire

zmq: Any = import_module("zmq")  # untyped on purpose: its types are there only where the extra is
Context: Any = import_module("zmq.asyncio").Context

LINGER_MS = 1_000
"""For the last messages to a front end, when the kernel ends."""


class KernelSockets:
    """Bound as a connection file says; messages go out signed."""

    def __init__(self, connection: dict[str, Any]) -> None:
        self._wire = KernelWire(str(connection.get("key") or "").encode())
        self._context = Context()
        self._connection = connection
        self.shell = self._bind(zmq.ROUTER, "shell_port")
        self.control = self._bind(zmq.ROUTER, "control_port")
        self.stdin = self._bind(zmq.ROUTER, "stdin_port")
        self._iopub = self._bind(zmq.XPUB, "iopub_port")
        self._heart = zmq.Context()
        echo = self._heart.socket(zmq.ROUTER)
        echo.linger = 0
        echo.bind(self._address("hb_port"))
        threading.Thread(target=_beat, args=(echo,), daemon=True, name="heartbeat").start()
        beside(self._welcome())

    def _address(self, port: str) -> str:
        connection = self._connection
        if connection.get("transport", "tcp") == "ipc":
            return f"ipc://{connection['ip']}-{connection[port]}"
        return f"{connection.get('transport', 'tcp')}://{connection['ip']}:{connection[port]}"

    def _bind(self, kind: int, port: str) -> Any:
        socket: Any = self._context.socket(kind)
        socket.linger = LINGER_MS
        if kind == zmq.XPUB:
            socket.setsockopt(zmq.XPUB_VERBOSE, 1)
            socket.setsockopt(zmq.SNDHWM, 0)  # as much as is printed: a front end that lost some would not know
        if kind == zmq.ROUTER:
            socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        socket.bind(self._address(port))
        return socket

    async def _welcome(self) -> None:
        """Tell each front end that it is heard (iopub_welcome)."""
        while True:
            topic = await self._iopub.recv()
            if topic[:1] == b"\1":
                content = {"subscription": topic[1:].decode(errors="replace")}
                self.publish("iopub_welcome", content, NOBODY, topic=topic[1:])

    async def receive(self, socket: Any) -> AsyncIterator[KernelMessage]:
        """The messages that come; what is no message of this kernel's is logged and left."""
        while True:
            frames: list[bytes] = await socket.recv_multipart()
            try:
                message = self._wire.read(frames)
            except ProtocolError as error:
                log_event(BackgroundFailed("a message of a front end", str(error)))
                continue
            yield message

    async def reply(self, socket: Any, kind: str, content: dict[str, Any], to: KernelMessage) -> None:
        """Answer a request."""
        await socket.send_multipart([*to.identities, *self._wire.pack(kind, content, to)])

    def publish(
        self,
        kind: str,
        content: dict[str, Any],
        parent: KernelMessage,
        *,
        metadata: dict[str, Any] | None = None,
        buffers: Sequence[bytes] = (),
        topic: bytes | None = None,
    ) -> None:
        """Tell all front ends. It is on its way when this returns, in order."""
        frames = self._wire.pack(kind, content, parent, metadata, buffers)
        self._iopub_now().send_multipart([kind.encode() if topic is None else topic, *frames])

    def _iopub_now(self) -> Any:
        """The same socket for sending at once: without a limit it never blocks."""
        found: Any = zmq.Socket.shadow(self._iopub.underlying)
        return found

    def close(self) -> None:
        """Send what is on its way, for at most LINGER_MS."""
        for socket in (self.shell, self.control, self.stdin, self._iopub):
            socket.close(LINGER_MS)
        self._context.term()


def _beat(echo: Any) -> None:
    """Send back what comes, in a thread and in C: a kernel that imports or computes is alive."""
    while True:
        try:
            zmq.proxy(echo, echo)
        except zmq.ZMQError as error:
            if error.errno != errno.EINTR:
                return
