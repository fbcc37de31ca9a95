"""The worker's end of the socket: sends from any thread, reads by whoever waits (specs/worker-protocol.md W1).

No thread is dedicated to reading. Bytes are read without blocking, under one lock, and dispatched before it is
released. Whoever waits polls the socket: the main thread with a wake-up descriptor of its own, the running loop through
its selector, and of the other threads one, the leader; the rest sleep on a lock each until their reply or the lead.

Memory files that the engine gives this worker come as descriptors beside a message (W6b, W6d)."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import time_ns

import msgspec

from bridge.protocol.framing import FrameDecoder
from bridge.protocol.messages import Wire, fields_to_worker
from bridge.worker.io.send_queue import Outgoing
from bridge.worker.parent_death import ENGINE_BROKEN, ENGINE_GONE
from bridge.worker.run.sigint_gate import Gate
from checkpoint.blobs.memory_file import mapped
from durable.core.errors import ProtocolError
from durable.core.lent_memory import LENT


def attached(channel: Channel, size: int) -> memoryview:
    """The contents of the file whose descriptor came with the last message. OSError, ValueError."""
    descriptor, channel.descriptor, channel.awaits_descriptor = channel.descriptor, -1, False
    if descriptor < 0:
        raise OSError("no descriptor came: the session may have as many open as it is allowed")
    try:
        return mapped(descriptor, size)
    finally:
        os.close(descriptor)


def take(channel: Channel, message: Wire) -> Wire:
    """Await what is lent, or take it; returns the reply to send."""
    reply: Wire = {"type": "lent", "lend": message["id"], "problem": ""}
    if not message["attached"]:
        channel.awaits_descriptor = True
        return {**reply, "ready": True}
    try:
        LENT[message["name"]] = attached(channel, message["memory"])
    except Exception as error:
        reply["problem"] = f"{type(error).__qualname__}: {error}"
    return reply


READ_BYTES = 2**16


class Waiter:
    """One expected reply. Subclasses say how its owner is woken."""

    __slots__ = ("reply",)

    def __init__(self) -> None:
        self.reply: Wire | None = None

    def deliver(self, channel: Channel, reply: Wire) -> None:
        self.reply = reply
        channel.wake_main()


class ThreadWaiter(Waiter):
    """A thread that sleeps on a lock, or polls when it leads."""

    __slots__ = ("lock",)

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.lock.acquire()

    def deliver(self, channel: Channel, reply: Wire) -> None:
        self.reply = reply
        channel.wake_thread(self)


class LoopWaiter(Waiter):
    """A future of a running loop."""

    __slots__ = ("future", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.loop = loop
        self.future: asyncio.Future[Wire] = loop.create_future()

    def deliver(self, channel: Channel, reply: Wire) -> None:
        self.reply = reply
        with suppress(RuntimeError):  # the loop was closed with its call still open
            self.loop.call_soon_threadsafe(self._settle, channel)

    def _settle(self, channel: Channel) -> None:
        channel.release_loop(self.loop)
        if not self.future.done():
            assert self.reply is not None
            self.future.set_result(self.reply)


class Channel:
    """Messages to and from the engine, and the replies that code waits for."""

    def __init__(self, sock: socket.socket, gate: Gate) -> None:
        self._sock = sock
        self._recv = sock.recv  # as it is now: code may put another method into the class, a test's double for one
        self._gate = gate
        self._decoder = FrameDecoder()
        self._encode = msgspec.msgpack.Encoder().encode
        self._ids = 0
        self.outgoing = Outgoing(sock, gate)
        self._read_lock = threading.Lock()
        self._state = threading.RLock()
        self._waiters: dict[int | str, Waiter] = {}
        self._leader: ThreadWaiter | None = None
        self._loops: dict[asyncio.AbstractEventLoop, int] = {}
        self._main_wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lead_wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._main_poll = select.poll()
        for fd in (sock.fileno(), self._main_wake):
            self._main_poll.register(fd, select.POLLIN)
        self.awaits_descriptor = False
        """Whether the engine was told that it can send a descriptor; else the kernel drops it."""
        self.descriptor = -1
        """The descriptor that came, for whoever awaited it to close."""
        self.inbox: deque[Wire] = deque()
        self.before_send: Callable[[], None] = lambda: None
        """Sends buffered output first; set by the streams."""
        self.on_inbox: Callable[[], None] = lambda: None
        """Stops the loop that idles on the main thread; set by the loop."""
        self.answer_now: Callable[[Wire], bool] = lambda _message: False
        """Handles a message at once, on whatever thread read it; True when it did."""
        self.on_broken: Callable[[str], None] = _end
        """The engine broke the protocol; set by tests."""
        self.main_loop: asyncio.AbstractEventLoop | None = None
        self.on_foreign_loop: Callable[[asyncio.AbstractEventLoop], None] = lambda _loop: None
        """A loop that user code started has its first open call; set by the worker."""
        self.while_leading: Callable[[int], int | None] = lambda _round: None
        """Asked by the leading thread before each sleep (counted since the last message): how long, ms."""

    # --- sending ---------------------------------------------------------------------------------------------

    def next_id(self) -> str:
        """An id for a message of this worker."""
        self._ids += 1
        return f"w{self._ids}"

    def send(self, message: Wire, *, flush: bool = True) -> None:
        """Send one message, after the output written before it. The process ends when the engine is gone."""
        if flush:
            self.before_send()
        message.setdefault("id", "")
        if not message["id"]:
            message["id"] = self.next_id()
        message["timestamp"] = time_ns() // 1_000_000
        self.outgoing.send(self._encode(message))

    def offer(self, message: Wire, deadline: float | None) -> bool:
        """Send one message of output, if the engine takes any of it by `deadline` (Outgoing.offer)."""
        message["id"] = self.next_id()
        message["timestamp"] = time_ns() // 1_000_000
        return self.outgoing.offer(self._encode(message), deadline)

    # --- reading ---------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._sock.fileno()

    def watch_idle(self, fd: int) -> None:
        """Wake the idle main thread for `fd` too (the loop's self-pipe)."""
        self._main_poll.register(fd, select.POLLIN)

    def read_available(self) -> None:
        """Read what is there and dispatch it; never blocks."""
        mine = self._gate.mask()
        try:
            with self._read_lock:
                try:
                    data = self._received()
                except (BlockingIOError, InterruptedError):
                    return
                except OSError:
                    os._exit(ENGINE_GONE)
                if not data:
                    os._exit(ENGINE_GONE)
                try:
                    for payload in self._decoder.feed(data):
                        self._dispatch(fields_to_worker(payload))
                    self._decoder.check()
                except ProtocolError as error:
                    self.on_broken(str(error))
        finally:
            if mine:
                self._gate.unmask()

    def _received(self) -> bytes:
        if not self.awaits_descriptor:  # the usual call: the other one takes twice as long
            return self._recv(READ_BYTES, socket.MSG_DONTWAIT)
        flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
        data, descriptors, _flags, _address = socket.recv_fds(self._sock, READ_BYTES, 1, flags)
        if descriptors:
            self.awaits_descriptor = False
            self.descriptor = descriptors[0]
        return data

    def pump(self, timeout_ms: int | None) -> list[int]:
        """Main thread: wait for the socket or a wake-up, read; the descriptors that were ready."""
        ready = [fd for fd, _ in self._main_poll.poll(timeout_ms)]
        if self._main_wake in ready:
            with suppress(BlockingIOError):
                os.eventfd_read(self._main_wake)
        if self._sock.fileno() in ready:
            self.read_available()
        return ready

    def _dispatch(self, message: Wire) -> None:
        kind = message["type"]
        if kind == "call_result":
            self._deliver(message["call"], message)
        elif kind == "checkpoint_ack" and (self._deliver(message["checkpoint"], message) or not message["problem"]):
            return
        elif not self.answer_now(message):
            self.inbox.append(message)
            self.wake_main()
            self.on_inbox()

    def _deliver(self, key: int | str, message: Wire) -> bool:
        with self._state:
            waiter = self._waiters.pop(key, None)
            if waiter is not None:
                waiter.deliver(self, message)
        return waiter is not None

    # --- waiting ---------------------------------------------------------------------------------------------

    def expect(self, key: int | str, waiter: Waiter) -> None:
        """Register before sending: a reply may come at once."""
        with self._gate.masked(), self._state:
            self._waiters[key] = waiter

    def forget(self, key: int | str) -> None:
        """Forget a reply for which nobody waits any more."""
        with self._gate.masked(), self._state:
            self._waiters.pop(key, None)

    def wake_main(self) -> None:
        """Make a poll of the main thread return; nothing when it is the caller."""
        if threading.get_ident() != threading.main_thread().ident:
            os.eventfd_write(self._main_wake, 1)

    def wake_thread(self, waiter: ThreadWaiter) -> None:
        """Make `waiter` look at its reply."""
        if self._leader is waiter:
            os.eventfd_write(self._lead_wake, 1)
        else:
            waiter.lock.release()

    def wait_in_thread(self, waiter: ThreadWaiter) -> Wire:
        """Block a thread other than the main one until its reply is there."""
        rounds = 0
        poll = select.poll()
        poll.register(self._sock.fileno(), select.POLLIN)
        poll.register(self._lead_wake, select.POLLIN)
        try:
            while True:
                with self._state:
                    if waiter.reply is not None:
                        return waiter.reply
                    if self._leader is None:
                        self._leader = waiter
                    leads = self._leader is waiter
                if not leads:
                    waiter.lock.acquire()
                    continue
                ready = [fd for fd, _ in poll.poll(self.while_leading(rounds))]
                rounds = 0 if ready else rounds + 1
                if self._lead_wake in ready:
                    with suppress(BlockingIOError):
                        os.eventfd_read(self._lead_wake)
                if self._sock.fileno() in ready:
                    self.read_available()
        finally:
            self._pass_the_lead(waiter)

    def _pass_the_lead(self, waiter: ThreadWaiter) -> None:
        with self._state:
            if self._leader is not waiter:
                return
            self._leader = next((w for w in self._waiters.values() if isinstance(w, ThreadWaiter)), None)
            if self._leader is not None:
                self._leader.lock.release()

    def wake_leader(self) -> None:
        """Make the leading thread, if any, look again at what there is to report."""
        if self._leader is not None:
            os.eventfd_write(self._lead_wake, 1)

    def watch_in_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let `loop` read the socket while calls of its coroutines are open. The session's own loop always does."""
        if loop is self.main_loop:
            return
        with self._gate.masked(), self._state:
            self._loops[loop] = self._loops.get(loop, 0) + 1
            if self._loops[loop] == 1:
                loop.add_reader(self._sock.fileno(), self.read_available)
                self.on_foreign_loop(loop)

    def release_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """One call of `loop` is over."""
        with self._gate.masked(), self._state:
            count = self._loops.pop(loop, 0)
            if count > 1:
                self._loops[loop] = count - 1
            elif count == 1 and not loop.is_closed():
                loop.remove_reader(self._sock.fileno())

    def disown(self) -> None:
        """In a forked child of user code: the engine's end is not ours to use."""
        self._sock.close()


def _end(why: str) -> None:
    """Nothing that such an engine says can be relied on. Told on the descriptor: sys.stderr is a message to it."""
    os.write(2, f"the engine broke the protocol: {why}\n".encode("utf-8", "replace"))
    os._exit(ENGINE_BROKEN)
