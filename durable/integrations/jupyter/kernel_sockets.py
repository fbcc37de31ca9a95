"""The five sockets of a kernel (specs/jupyter.md, Wire)."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any

from durable.core.errors import ProtocolError
from durable.core.events import BackgroundFailed, log_event
from durable.integrations.jupyter.kernel_wire import NOBODY, KernelMessage, KernelWire

zmq: Any = import_module("zmq")  # untyped on purpose: its types are there only where the extra is

WELCOME = "iopub_welcome"

LINGER_MS = 1_000
"""For the last messages to a front end, when the kernel ends."""

MESSAGES_AT_ONCE_MAX = 100
"""Messages of one socket before others get their turn."""

SNDMORE, POLLIN, EVENTS, NOBLOCK = (int(getattr(zmq, name)) for name in ("SNDMORE", "POLLIN", "EVENTS", "NOBLOCK"))
"""As plain numbers: seven frames a message, each with the enum's arithmetic, took as long as the cell."""


_send = zmq.backend.Socket.send
"""What a socket's own `send` ends in: the rest of that looks at options which are not used here."""


class KernelSocket:
    """A bound socket on the event loop: what comes is given to `take`, what is sent is on its way at once.

    The descriptor of a ZeroMQ socket tells of news once, and sending may take that news: whoever sends looks again.
    """

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._loop = asyncio.get_running_loop()
        self._take: Callable[[list[bytes]], None] | None = None

    def listen(self, take: Callable[[list[bytes]], None]) -> None:
        """Give each message to `take` from now on."""
        self._take = take
        self._loop.add_reader(self._socket.getsockopt(zmq.FD), self.look)
        self._loop.call_soon(self.look)

    def send(self, frames: Sequence[bytes]) -> None:
        """Send one message. Neither a ROUTER nor a PUB without a limit ever blocks."""
        for frame in frames[:-1]:
            _send(self._socket, frame, SNDMORE)
        _send(self._socket, frames[-1])
        if self._take is not None and self._socket.getsockopt(EVENTS) & POLLIN:
            self._loop.call_soon(self.look)

    def look(self) -> None:
        """Give what has come to whoever listens."""
        assert self._take is not None
        for _ in range(MESSAGES_AT_ONCE_MAX):
            if self._socket.closed or not self._socket.getsockopt(EVENTS) & POLLIN:
                return
            self._take(self._socket.recv_multipart(NOBLOCK))
        self._loop.call_soon(self.look)

    def close(self) -> None:
        """Send what is on its way, for at most LINGER_MS."""
        if self._take is not None:
            self._loop.remove_reader(self._socket.getsockopt(zmq.FD))
        self._socket.close(LINGER_MS)


class KernelSockets:
    """Bound as a connection file says; messages go out signed."""

    def __init__(self, connection: dict[str, Any], listening: Mapping[str, int] = MappingProxyType({})) -> None:
        """`listening`: descriptors that listen already, by the names of their ports; they are taken over."""
        self._wire = KernelWire(str(connection.get("key") or "").encode())
        self._context = zmq.Context()
        self._connection = connection
        self._listening = listening
        self.shell = self._bind(zmq.ROUTER, "shell_port")
        self.control = self._bind(zmq.ROUTER, "control_port")
        self.stdin = self._bind(zmq.ROUTER, "stdin_port")
        self._iopub = self._bind(zmq.XPUB, "iopub_port")
        self._heart = zmq.Context()
        echo = self._heart.socket(zmq.ROUTER)
        echo.linger = 0
        self._bind_at(echo, "hb_port")
        threading.Thread(target=_beat, args=(echo,), daemon=True, name="heartbeat").start()
        self._iopub.listen(self._welcome)

    def _address(self, port: str) -> str:
        connection = self._connection
        if connection.get("transport", "tcp") == "ipc":
            return f"ipc://{connection['ip']}-{connection[port]}"
        return f"{connection.get('transport', 'tcp')}://{connection['ip']}:{connection[port]}"

    def _bind(self, kind: int, port: str) -> KernelSocket:
        socket: Any = self._context.socket(kind)
        socket.linger = LINGER_MS
        if kind == zmq.XPUB:
            socket.setsockopt(zmq.XPUB_VERBOSE, 1)
            socket.setsockopt(zmq.SNDHWM, 0)  # as much as is printed: a front end that lost some would not know
        if kind == zmq.ROUTER:
            socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self._bind_at(socket, port)
        return KernelSocket(socket)

    def _bind_at(self, socket: Any, port: str) -> None:
        if port in self._listening:
            socket.setsockopt(zmq.USE_FD, self._listening[port])
        socket.bind(self._address(port))

    def _welcome(self, frames: list[bytes]) -> None:
        """Tell a front end that it is heard (iopub_welcome)."""
        topic = frames[0]
        if topic[:1] == b"\1":
            content = {"subscription": topic[1:].decode(errors="replace")}
            self.publish(WELCOME, content, NOBODY, topic=topic[1:])

    def listen(self, socket: KernelSocket, take: Callable[[KernelMessage], None]) -> None:
        """Give `take` the messages that come; what is no message of this kernel's is logged and left."""

        def read(frames: list[bytes]) -> None:
            try:
                message = self._wire.read(frames)
            except ProtocolError as error:
                log_event(BackgroundFailed("a message of a front end", str(error)))
                return
            take(message)

        socket.listen(read)

    def reply(self, socket: KernelSocket, kind: str, content: dict[str, Any], to: KernelMessage) -> None:
        """Answer a request."""
        socket.send([*to.identities, *self._wire.pack(kind, content, to)])

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
        """Tell all front ends. It is on its way when this returns, in order.

        One that has subscribed meanwhile is welcomed before that: with the ports open so early, it may be there first.
        """
        if kind != WELCOME:
            self._iopub.look()
        frames = self._wire.pack(kind, content, parent, metadata, buffers)
        self._iopub.send([kind.encode() if topic is None else topic, *frames])

    def close(self) -> None:
        """Send what is on its way, for at most LINGER_MS."""
        for socket in (self.shell, self.control, self.stdin, self._iopub):
            socket.close()
        self._context.term()


def _beat(echo: Any) -> None:
    """Send back what comes, in a thread and in C: a kernel that imports or computes is alive."""
    while True:
        try:
            zmq.proxy(echo, echo)
        except zmq.ZMQError as error:
            if error.errno != errno.EINTR:
                return
