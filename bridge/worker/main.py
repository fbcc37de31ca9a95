"""The worker process: handshake, then executions until the engine says stop or goes away.

Started as `python -P -c BOOT <root> bridge.worker.main <socket fd> <stdout pipe fd> <stderr pipe fd> <engine's pid>`
(bridge/launch/launcher.py), or forked from the zygote, which calls `serve`.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import platform
import resource
import socket
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import checkpoint  # pins the package before the user's directory is on sys.path
from bridge.protocol.messages import Wire
from bridge.worker import import_hooks
from bridge.worker.calls.calls import Calls, before_threads
from bridge.worker.calls.capability_functions import granted, granted_function
from bridge.worker.calls.granted_functions import grant
from bridge.worker.confine_self import hold, inherited_descriptors
from bridge.worker.io.channel import Channel, take
from bridge.worker.io.display import Displays, plain_text
from bridge.worker.io.output_streams import OutputPort, Pipe
from bridge.worker.io.stdio import install
from bridge.worker.namespace import sources
from bridge.worker.namespace.main_module import Namespace, make_main
from bridge.worker.namespace.variables import completions
from bridge.worker.parent_death import die_with
from bridge.worker.run.checkpoint_timing import Checkpoints
from bridge.worker.run.event_loop import (
    WorkerLoop,
    children_alive,
    hide_running,
    report_when_idle,
    threads_alive,
    watch_threads,
)
from bridge.worker.run.executor import Executor
from bridge.worker.run.sigint_gate import Gate
from checkpoint.capture.process_state import PROCESS_STATE
from durable.core.limits import FRAME_BYTES_MAX

if TYPE_CHECKING:
    from bridge.worker.namespace.access import LiveNamespace

assert checkpoint

PROTOCOL_VERSION = 1
"""The version of bridge/protocol/messages.py, which the worker does not import; a test holds them together."""

REPLACED = ("asyncio", "asyncio.runners", "builtins", "getpass", "inspect", "sys", "threading", "_thread")
"""Modules in which the worker puts something of its own."""

END_GRACE_S = 1.0
"""Seconds for background tasks' `finally` blocks at a shutdown."""


class Worker:
    """The parts of the process, and the messages that reach its idle main thread."""

    def __init__(self, sock: socket.socket, out_fd: int, err_fd: int) -> None:
        self.gate = Gate()
        self.channel = Channel(sock, self.gate)
        self.namespace: Namespace = make_main()
        self.calls = Calls(self.channel, self.gate)
        pipes = (Pipe("stdout", out_fd), Pipe("stderr", err_fd))
        self.output = OutputPort(self.channel, self.gate, pipes, self.calls.tag)
        self.loop = WorkerLoop(self.gate, self._failed)
        self.loop.watch(self.channel.fileno(), self.channel.read_available)
        self.loop.selector.idle = self.calls.loop_plan
        self.calls.loop_sleeps = lambda: self.loop.selector.sleeps
        self.checkpoints = Checkpoints(self.channel, self.gate, self.namespace)
        self.checkpoints.muted = self.output.muted
        self.executor = Executor(
            self.namespace, self.channel, self.gate, self.loop, self.calls, self.output, self.checkpoints
        )
        self.channel.main_loop = self.loop
        self.channel.on_foreign_loop = self._watch_foreign
        self.channel.watch_idle(self.loop.wake_fd)
        self.channel.on_inbox = self._stop_idling
        self.channel.answer_now = self._answer_now
        self._idling = False
        self._live_namespace: LiveNamespace | None = None
        self.inherited: list[int] = []
        """Descriptors that this process got from the one that started it and does not need."""

    def serve(self) -> None:
        """Handshake, then one message after the other; returns at `shutdown`."""
        self.gate.install()
        os.register_at_fork(after_in_child=self._in_forked_child)
        hide_running(self.loop, self.output.synchronous)
        before_threads(self.calls, self.output.unbatch, self.output.never_batch)
        watch_threads(self._failed)
        sources.install()
        displays = Displays(self._display, self.calls.tag, self._print)
        displays.install()
        self.executor.show_value = displays.show_value
        import_hooks.install(self.executor.count)
        self.channel.send({"type": "hello", "version": PROTOCOL_VERSION, "frame_bytes_max": FRAME_BYTES_MAX})
        hello = self._next()
        if hello["type"] != "hello" or hello["version"] != PROTOCOL_VERSION:
            raise SystemExit(f"an engine of another protocol: {hello}")
        if hello["confinement"]:
            hold(self.channel, hello["confinement"], self.inherited)
        grant(self.calls, hello["capabilities"])
        self.output.obey(hello["output"])
        install(self.output, lambda: str(granted_function("input")("")))
        PROCESS_STATE.interrupts = self.gate.users
        PROCESS_STATE.begin(REPLACED)
        ready = {"type": "ready", "session_id": hello["session"], "capabilities": list(granted())}
        self.channel.send({**ready, "pid": os.getpid(), "python": platform.python_version()})
        while True:
            message = self._next()
            kind = message["type"]
            if kind == "execute":
                if message["capabilities"] is not None:
                    grant(self.calls, message["capabilities"])
                self.checkpoints.fresh = False
                self.executor.run(message)
                if message["recompute"]:
                    self.checkpoints.made_by(message["recompute"], message["id"])
            elif kind == "checkpoint":
                self.output.drain()
                self.checkpoints.send({"id": message["id"]}, wait=False)
            elif kind == "checkpoint_ack":
                self.checkpoints.forget()
            elif kind == "restore":
                fresh = self.checkpoints.fresh
                reply = self.checkpoints.restore(message)
                self.executor.restored(cleared=message["clear_existing"] and not fresh and bool(reply["report"]))
                self.channel.send(reply)
            elif kind == "lend":
                self.channel.send(take(self.channel, message))
            elif kind == "namespace":
                self.channel.send(self._answer_namespace(message))
            elif kind == "complete":
                names = completions(message["text"], self.namespace, self.gate)
                self.channel.send({"type": "completions", "complete": message["id"], "names": names})
            elif kind == "front_end":
                self.channel.send(self._answer_front_end(message))
            elif kind == "shutdown":
                return

    def _next(self) -> Wire:
        channel = self.channel
        while not channel.inbox:
            if self.loop.has_work():
                self._idling = True
                if not channel.inbox:
                    self.loop.run_idle()
                self._idling = False
            else:
                try:
                    channel.pump(None)
                    if not channel.inbox:
                        self.output.flush()
                except Exception as error:  # a signal handler that user code installed raised here
                    self.loop.report(error)
        return channel.inbox.popleft()

    def _stop_idling(self) -> None:
        if self._idling:
            self.loop.call_soon_threadsafe(self.loop.stop)

    def _watch_foreign(self, loop: asyncio.AbstractEventLoop) -> None:
        plan_in_thread = self.calls.loop_plan_in_thread
        on_main = threading.get_ident() == threading.main_thread().ident
        report_when_idle(loop, self.calls.loop_plan if on_main else plan_in_thread)

    def _answer_now(self, message: Wire) -> bool:
        """Answer a message that need not wait for the execution in flight; False for others."""
        kind = message["type"]
        if kind == "heartbeat":
            used = resource.getrusage(resource.RUSAGE_SELF)
            self.channel.send(
                {
                    "type": "heartbeat",
                    "id": message["id"],
                    "memory_usage": _resident_bytes(),
                    "cpu_time": used.ru_utime + used.ru_stime,
                    "namespace_size": len(self.namespace),
                    "background": self.loop.alive() + threads_alive(self.loop) + children_alive(),
                }
            )
            return True
        if self.calls.current is None:
            return False
        if kind == "shutdown":
            os._exit(0)  # cut where it is: running its handlers would end an execution that is to go on elsewhere
        if kind == "execute":
            what = {"exception_type": "Busy", "exception_message": "the worker runs another execution", "traceback": ""}
            self.channel.send({"type": "error", "execution_id": message["id"], **what})
            return True
        return False

    def _answer_namespace(self, message: Wire) -> Wire:
        from bridge.worker.namespace.access import (
            LiveNamespace,  # most sessions are never asked
            answer,
        )

        if self._live_namespace is None:
            self._live_namespace = LiveNamespace(self.namespace)
        return answer(self._live_namespace, message)

    def _answer_front_end(self, message: Wire) -> Wire:
        from bridge.worker.notebook.front_end import answer  # most sessions have none

        reply = answer(message, self.namespace, self.executor.count, self.executor.run_beside)
        self.output.drain()
        return reply

    def _display(self, bundle: str) -> None:
        if self.output.mutes():
            return
        if self.calls.forked:  # it has no engine: its parent's descriptors take text only
            self._print(plain_text(bundle) + "\n")
            return
        message = {"type": "output", "execution_id": self.calls.tag(), "stream": "display", "data": bundle}
        self.channel.send(message)

    def _failed(self, text: str) -> None:
        """A thread or task of the user's ended with an error that nobody took."""
        if not self.calls.forked:
            message = {"type": "output", "execution_id": self.calls.tag(), "stream": "failure", "data": text}
            self.channel.send(message)

    def _print(self, text: str) -> None:
        self.output.write("stdout", text.encode(errors="replace"))

    def _in_forked_child(self) -> None:
        self.calls.forked = True
        self.channel.disown()

    def end(self) -> None:
        """Leave in order: background tasks, exit functions, output; then at once, whatever threads still run."""
        self.loop.cancel_all(END_GRACE_S)
        with suppress(BaseException):
            atexit._run_exitfuncs()
        self.output.drain()
        os._exit(0)


def _resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def main(arguments: list[str]) -> None:
    """Entry point of a cold start."""
    sock_fd, out_fd, err_fd, engine_pid = map(int, arguments)
    die_with(engine_pid)
    for fd in (sock_fd, out_fd, err_fd):
        os.set_inheritable(fd, False)
    sys.argv[:] = [""]
    serve(sock_fd, out_fd, err_fd)


def serve(sock_fd: int, out_fd: int, err_fd: int) -> None:
    """Be a worker until the engine says stop; does not return. The descriptors are those of main."""
    sys.path.insert(0, "")
    inherited = inherited_descriptors({sock_fd, out_fd, err_fd})
    worker = Worker(socket.socket(fileno=sock_fd), out_fd, err_fd)
    worker.inherited = inherited
    worker.serve()
    worker.end()
