"""One worker and everything the engine says to it (specs/session.md). The only reader of its transport.

Data that a worker is given in a memory file is told of by its size first, and sent once it awaits a descriptor
(specs/worker-protocol.md, W6b and W6d)."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any, Protocol
from weakref import proxy

from msgspec.structs import replace

from bridge.confine.cgroup import Cgroup
from bridge.confine.confinement import Confinement
from bridge.host.checkpoint_queue import Captures, CheckpointQueue, OnCheckpoint
from bridge.host.checkpoint_stream import OnChunks, no_chunks
from bridge.host.event_rate import EventRate
from bridge.host.interceptors import Beside, Interceptor, Interceptors
from bridge.host.open_calls import OnCall, OpenCalls
from bridge.host.output_order import OutputOrder, ReadGate
from bridge.host.replies import Replies
from bridge.host.transport import Transport
from bridge.host.weak_callback import weakly
from bridge.launch.launcher import ColdLauncher, WorkerLauncher
from bridge.protocol.framing import FrameDecoder, encode
from bridge.protocol.messages import (
    PROTOCOL_VERSION,
    Call,
    CallResult,
    Checkpoint,
    CheckpointAck,
    Complete,
    Completions,
    Error,
    Execute,
    FromWorker,
    FrontEnd,
    FrontEndReply,
    Heartbeat,
    Hello,
    Lend,
    Lent,
    Message,
    Namespace,
    NamespaceReply,
    Output,
    Piped,
    Ready,
    Restore,
    Restored,
    Result,
    Shutdown,
    ValueText,
    Waiting,
    encode_message,
    limit_from_worker,
    parse_from_worker,
)
from bridge.protocol.output_rules import OutputRules
from bridge.protocol.states import WorkerEvent, WorkerState, step
from checkpoint.blobs.memory_file import MemoryFile
from durable.core.errors import Busy, CheckpointError, EngineClosed, ProtocolError, Unenforceable, WorkerDied
from durable.core.events import (
    Observer,
    OutputUndrained,
    ReplyUnknown,
    WorkerEnded,
    WorkerReady,
    WorkerStarted,
    log_event,
)
from durable.core.freed_memory import give_back_beside
from durable.core.limits import HANDSHAKE_S, MESSAGE_BYTES_MAX

PROBLEM = "it waits for a descriptor that it was not to get"


class AskWorker(Protocol):
    """Sends a message and waits for its reply. Raises Busy, WorkerDied."""

    async def __call__[R: Message](
        self, message: Message, reply: type[R], *, attached: MemoryFile | None = None
    ) -> R: ...


async def restored(ask: AskWorker, asked: Restore, payload: bytes | MemoryFile) -> Restored:
    """The worker's reply, with a `problem` where it changed nothing."""
    if not isinstance(payload, MemoryFile):
        reply = await ask(replace(asked, data=payload), Restored)
    else:
        asked = replace(asked, memory=payload.size)
        reply = await ask(asked, Restored)
        if reply.ready:
            reply = await ask(replace(asked, attached=True), Restored, attached=payload)
    return replace(reply, problem=PROBLEM) if reply.ready else reply


async def lent(ask: AskWorker, name: str, file: MemoryFile) -> str:
    """Let the worker read the file under this name; "", or what the problem is."""
    asked = Lend(name=name, memory=file.size)
    reply = await ask(asked, Lent)
    if reply.ready:
        reply = await ask(replace(asked, attached=True), Lent, attached=file)
    return PROBLEM if reply.ready else reply.problem


SHUTDOWN_GRACE_S = 5.0
BUSY_GRACE_S = 0.25
TERMINATE_GRACE_S = 1.0
"""How long a worker may take to end: asked while idle, asked while its code runs, told by SIGTERM."""


KEY_CHARS_MAX = 200
"""Characters of an unknown reply's id, in the event that tells of it."""


UNASKED_MAX = 64
"""Checkpoints, since an execution began, that nobody waits for: what the worker is told of each waits in memory."""


def _ignore(_message: Message) -> None:
    """The default of the optional callbacks."""


class WorkerSession:
    """A worker process, from start to end, and the one execution it may run.

    `on_call` answers a call, or returns None to leave that to `answer`. `on_checkpoint` returns when the checkpoint is
    durable; checkpoints are handled one at a time, in order, and `execute` returns after the last of its execution.
    `on_chunks` keeps, in a thread, the large chunks of a checkpoint that come before it; without it they come with it.
    `on_output` and `on_waiting` run on the receive loop and must not block.
    """

    def __init__(
        self,
        name: str,
        *,
        on_call: OnCall,
        on_checkpoint: OnCheckpoint,
        on_chunks: OnChunks = no_chunks,
        on_output: Callable[[Output], None] = _ignore,
        on_waiting: Callable[[Waiting], None] = _ignore,
        capabilities: Sequence[str] = (),
        observer: Observer = log_event,
        launcher: WorkerLauncher | None = None,
        confinement: Confinement | None = None,
        output: OutputRules | None = None,
    ) -> None:
        self.name = name
        self.state = WorkerState.CREATING
        self.unknown_replies = 0
        """Results, errors and calls that nobody asked for."""
        self.undrained = 0
        """Executions whose output was not taken in time, and given up in part (B5)."""
        self.ended = asyncio.Event()
        """Set while no process of this session runs, after one did."""
        self.end_reason = ""
        self._on_call = on_call
        self._on_checkpoint = on_checkpoint
        self._on_chunks = on_chunks
        self._on_output = on_output
        self._on_waiting = on_waiting
        self.capabilities: list[str | dict[str, Any]] = list(capabilities)
        """The capabilities that the worker's code may call, as it is told at its start."""
        self._observer = observer
        self._caused = EventRate(name, observer)
        """The rate of events that the worker makes happen, as often as it likes."""
        self._launcher = launcher or ColdLauncher()
        self.confinement = confinement or Confinement()
        self._rules = output or OutputRules()
        self.watch: Any = None
        """The watch of the last execution with limits: what it left running counts on."""
        self._bytes_max = self.confinement.limits.memory or MESSAGE_BYTES_MAX
        """Bytes held of one message or capture: no more than the worker itself may hold."""
        self._beside = Beside(name, self._caused)
        self._interceptors = Interceptors(name, self._caused, self._beside.track)
        self._reset()

    def _reset(self) -> None:
        me: WorkerSession = proxy(self)  # its parts do not keep it
        unknown = weakly(self._unknown)
        self._transport: Transport | None = None
        self.group: Cgroup | None = None
        """The control group that counts and ends all that a confined worker starts, where the machine lets us."""
        self._captures = Captures(self.name, lambda idle: me._ask(Checkpoint(), Checkpoint, idle=idle), self._bytes_max)
        """The engine's own requests for checkpoints."""
        self._decoder = FrameDecoder(limit_of=partial(limit_from_worker, memory=self._bytes_max))
        self.starved_at: int | None = None
        """Bytes that were held when the kernel ended a process for want of more."""
        self._hello: asyncio.Future[Ready] | None = None
        self._execution: Execute | None = None
        self._printed = OutputOrder(weakly(self._show_output), drops=self._rules.policy in ("drop_new", "drop_oldest"))
        self._outcome: asyncio.Future[Result | Error] | None = None
        self._replies = Replies(unknown)
        self._calls = OpenCalls(
            self._on_call, write=weakly(self._write), track=self._beside.track, unknown=unknown, observer=self._caused
        )
        self._reading = ReadGate(self._printed, lambda: me._transport, lambda: me._keeping.full)
        self._keeping = CheckpointQueue(
            self.name,
            self._on_checkpoint,
            self._on_chunks,
            send=weakly(self._send),
            again=self._captures.again,
            lost=weakly(self._checkpoint_lost),
            let_go=self._beside.let_go,
            crowded=self._reading.crowd,
            observer=self._caused,
            bytes_max=self._bytes_max,
        )
        self._message_bytes = self._writes = self._executed_at = self._unasked_count = 0
        self._broken = ""
        """Why the worker was given up: what it did, or did not, or `_breach`."""
        self._breach = False
        self._half_at = 0.0

    # --- life ------------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The worker's process id; 0 before it was started."""
        return 0 if self._transport is None else self._transport.process.pid

    @property
    def start_time(self) -> int:
        """The worker's start time (clock ticks): with the pid, its identity for ever."""
        return 0 if self._transport is None else self._transport.process.start_time

    async def start(self) -> None:
        """Start the worker and shake hands.

        Raises WorkerDied, Unenforceable when this machine cannot confine it as asked, ProtocolError when the worker
        breaks the protocol, or the session was started before.
        """
        began = monotonic()
        self._go(WorkerEvent.START)
        self.ended.clear()
        try:
            process = await self._launcher.launch(self.name)
        except BaseException:
            self._go(WorkerEvent.ENDED)
            self.ended.set()
            raise
        self._hello = asyncio.get_running_loop().create_future()
        self.group = Cgroup.hold(process.pid, self.confinement.limits.memory) if self.confinement else None
        self._transport = Transport(
            process, on_bytes=self._receive, on_pipe=self._printed.piped, on_ended=self._process_ended
        )
        self._observer(WorkerStarted(self.name, process.pid))
        held, rules = self.confinement.to_json(), self._rules.to_json()
        self._send(Hello(session=self.name, capabilities=self.capabilities, confinement=held, output=rules))
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                await self._hello
        except TimeoutError:
            self._break(f"no hello within {HANDSHAKE_S:g} s")
            await self.ended.wait()
            raise WorkerDied(self._death()) from None
        except Unenforceable:
            self.kill()
            await self.ended.wait()
            raise
        except asyncio.CancelledError:
            self.kill()
            raise
        self._observer(WorkerReady(self.name, process.pid, (monotonic() - began) * 1000))

    async def restart(self) -> None:
        """Start again after the end, with an empty namespace."""
        self._go(WorkerEvent.RESET)
        self._reset()
        await self.start()

    def interrupt(self) -> None:
        """SIGINT: KeyboardInterrupt in the code that runs; nothing when none does."""
        if self._transport is not None:
            self._transport.signal(signal.SIGINT)

    def pause_reading(self) -> None:
        """Take nothing from the worker until `resume_reading`: what it prints then waits in it, and so does it."""
        self._reading.pause()

    def resume_reading(self) -> None:
        """Go on after `pause_reading`; nothing when it was not paused."""
        self._reading.resume()

    def kill(self) -> None:
        """SIGKILL to the worker and the processes it started."""
        if self._transport is not None:
            self._transport.kill()
        if self.group is not None and not self.ended.is_set():
            self.group.kill()

    async def wait_ended(self) -> None:
        """Return when the process has ended (at once when none was started)."""
        if self._transport is not None:
            await self.ended.wait()

    async def shutdown(self, grace_s: float = SHUTDOWN_GRACE_S) -> None:
        """Ask the worker to end, then make it. Waiters get EngineClosed; nothing is settled. Idempotent."""
        if self.state is WorkerState.TERMINATED:
            return
        grace_s = grace_s if self._execution is None else min(grace_s, BUSY_GRACE_S)  # code that computes does not read
        self._go(WorkerEvent.CLOSE)
        self._fail_waiters(EngineClosed(f"session {self.name!r} was closed"))
        if self._transport is None:
            return
        self._send(Shutdown(reason="close"))
        for seconds, harder in ((grace_s, signal.SIGTERM), (TERMINATE_GRACE_S, signal.SIGKILL)):
            try:
                async with asyncio.timeout(seconds):
                    await self.ended.wait()
                    return
            except TimeoutError:
                self._transport.signal(harder)
        await self.ended.wait()

    # --- what is asked of the worker -------------------------------------------------------------------------

    async def execute(self, request: Execute) -> Result | Error:
        """Run a cell to its end; all its output and checkpoints were handed over by then.

        Raises NotEncodable for code or inputs that cannot be sent, Busy when an execution is in flight, WorkerDied when
        the process ends, ProtocolError when it said what is not allowed (it is killed), EngineClosed at a shutdown, and
        what `on_checkpoint` raised. Cancelling the caller leaves the execution running: interrupt or kill it.
        """
        if self.state is WorkerState.BUSY:
            raise Busy(f"session {self.name!r} runs {self._printed.execution!r}")
        if self.state not in (WorkerState.READY, WorkerState.IDLE):
            raise WorkerDied(self._death(), begun=False)
        frames = encode(encode_message(request))
        self._go(WorkerEvent.EXECUTE)
        self._keeping.begin()
        self._unasked_count = 0
        outcome: asyncio.Future[Result | Error] = asyncio.get_running_loop().create_future()
        self._outcome = outcome
        self._execution = request
        self._printed.begin(request.id, request.output_offset)
        self._write(frames)
        self._executed_at = self._writes
        try:
            reply = await outcome
        except Exception:
            await self._keeping.over()  # what it had saved counts
            raise
        await self._keeping.kept()
        return reply

    async def checkpoint(self) -> Checkpoint:
        """Checkpoint the namespace now. Idle workers only: raises Busy, or WorkerDied."""
        reply, stream = await self._captures.ask(idle=True)
        if stream is not None:
            try:
                reply = await self._keeping.asked(reply, stream)
            except ProtocolError as error:
                self._break(str(error), breach=True)
                raise
        if reply.problem:
            raise CheckpointError(f"session {self.name!r} could not be captured: {reply.problem}")
        return reply

    def not_kept(self, captured: Checkpoint, error: BaseException) -> None:
        """Tell the worker that what `checkpoint` gave could not be kept: its next capture must not build on it."""
        self._send(CheckpointAck(checkpoint=captured.id, problem=str(error) or type(error).__name__))

    async def restore(
        self, payload: bytes | MemoryFile, *, clear_existing: bool = False, override_environment: bool = False
    ) -> Restored:
        """Bring a namespace back. Raises CheckpointError when the worker changed nothing, Busy, WorkerDied."""
        asked = Restore(clear_existing=clear_existing, override_environment=override_environment)
        reply = await restored(self._ask, asked, payload)
        if reply.problem:
            raise CheckpointError(f"session {self.name!r} could not be restored: {reply.problem}")
        return reply

    async def lend(self, name: str, file: MemoryFile) -> str:
        """Give the worker something to read under this name; "", or why it has it not. Raises Busy, WorkerDied."""
        return await lent(self._ask, name, file)

    async def namespace(self, request: Namespace) -> NamespaceReply:
        """Read or change the namespace; idle workers only. What was wrong is in the reply. Raises Busy, WorkerDied."""
        return await self._ask(request, NamespaceReply)

    async def complete(self, text: str) -> list[str]:
        """Completions of a dotted name. Idle workers only: raises Busy, or WorkerDied."""
        return (await self._ask(Complete(text=text), Completions)).names

    async def front_end(self, request: FrontEnd) -> FrontEndReply:
        """Ask on behalf of a notebook. Idle workers only: raises Busy, or WorkerDied. Callbacks may take their time."""
        return await self._ask(request, FrontEndReply, guard_s=None)

    async def heartbeat(self) -> Heartbeat:
        """Vital signs, from the worker itself; a worker that computes answers when it reads again."""
        return await self._ask(Heartbeat(), Heartbeat, idle=False, guard_s=None)

    def answer(self, call: int, result: CallResult) -> None:
        """Answer a call that `on_call` left open; a second answer is ignored and counted.

        Raises NotEncodable, and the call stays open.
        """
        self._calls.answer(call, result)

    def add_interceptor(self, interceptor: Interceptor) -> None:
        """Let it see every message, before routing; a coroutine that it returns runs as a tracked task."""
        self._interceptors.add(interceptor)

    def remove_interceptor(self, interceptor: Interceptor) -> None:
        """Stop showing it messages; nothing when it was not added."""
        self._interceptors.remove(interceptor)

    async def _ask[R: Message](
        self,
        message: Message,
        reply: type[R],
        *,
        idle: bool = True,
        guard_s: float | None = HANDSHAKE_S,
        attached: MemoryFile | None = None,
    ) -> R:
        if idle and self.state is WorkerState.BUSY:
            raise Busy(f"session {self.name!r} runs {self._printed.execution!r}")
        if self.state not in (WorkerState.READY, WorkerState.IDLE, WorkerState.BUSY):
            raise WorkerDied(self._death())
        try:
            return await self._replies.wait(reply, message.id, lambda: self._send(message, attached), guard_s)
        except TimeoutError:
            self._break(f"no reply within {guard_s:g} s")
            raise WorkerDied(self._death()) from None

    # --- the receive loop ------------------------------------------------------------------------------------

    def _receive(self, data: bytes) -> None:
        if self._broken:
            return
        try:
            for payload in self._decoder.feed(data):
                message = parse_from_worker(payload, self._bytes_max)
                self._message_bytes = len(payload)
                if isinstance(message, Piped):
                    assert self._transport is not None
                    self._transport.decode(message.stream, message.data)
                    continue
                self._interceptors.show(message)
                self._route(message)
            self._decoder.check()
            self._half_at = monotonic() if self._decoder.pending_bytes else 0.0
        except ProtocolError as error:
            self._break(str(error), breach=True)

    @property
    def half_at(self) -> float:
        """When the last bytes came of a message that is not whole yet; 0 where none waits, or nobody reads it."""
        return 0.0 if self._transport is None or self._transport.paused else self._half_at

    def give_up_half(self, waited_s: float) -> None:
        """Nothing more comes of a message that it began."""
        self._break(f"a message that it began, and did not end in {waited_s:g} s", breach=True)

    def _route(self, message: FromWorker) -> None:
        match message:
            case Output():
                self._output(message)
            case ValueText():
                pass  # for whoever looks at every message
            case Result() | Error():
                self._finish(message)
            case Call():
                self._calls.received(message)
            case Waiting():
                if self._execution is not None and message.execution_id == self._execution.id:
                    self._beside.guarded("on_waiting", partial(self._on_waiting, message))
            case Checkpoint():
                self._checkpoint(message)
            case Restored():
                self._replies.came(message.restore, message)
            case Lent():
                self._replies.came(message.lend, message)
            case NamespaceReply() | FrontEndReply():
                self._replies.came(message.request, message)
            case Completions():
                self._replies.came(message.complete, message)
            case Heartbeat():
                self._replies.came(message.id, message)
            case Hello():
                if message.version != PROTOCOL_VERSION:
                    raise ProtocolError(f"a worker of protocol {message.version}; ours is {PROTOCOL_VERSION}")
            case Ready():
                self._ready(message)

    def _ready(self, message: Ready) -> None:
        if self.state is WorkerState.SHUTTING_DOWN:
            return
        self._go(WorkerEvent.READY)
        if self._hello is not None and not self._hello.done():
            self._hello.set_result(message)

    def _output(self, message: Output) -> None:
        self._beside.guarded("on_output", partial(self._on_output, self._printed.placed(message)))

    def _show_output(self, message: Output) -> None:
        """Show output that came through a pipe."""
        self._interceptors.show(message)
        self._output(message)

    def _finish(self, message: Result | Error) -> None:
        current = self._execution
        if current is None or message.execution_id != current.id:
            if isinstance(message, Error) and self._hello is not None and not self._hello.done():
                self._hello.set_exception(Unenforceable([message.exception_message]))  # it could not be confined
                return
            self._unknown(str(message.execution_id))
            return
        self._execution = None
        self._printed.end()
        self._go(WorkerEvent.DONE)
        if message.undrained:
            self.undrained += 1
            self._caused(OutputUndrained(self.name, current.id, message.undrained))
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(message)

    def _checkpoint(self, message: Checkpoint) -> None:
        if (Checkpoint, message.id) in self._replies:
            self._captures.came(message, self.pid)
            self._replies.came(message.id, message)
            return
        current = self._execution
        if current is None or message.execution_id != current.id:
            self._unasked(message)
            return
        message = replace(message, output_offset=self._printed.offset)
        self._keeping.keep(message, self._message_bytes, self.pid)

    def _unasked(self, message: Checkpoint) -> None:
        """Whoever asked for it went away, or the end of its execution was a forgery.

        The worker is told, for it may wait for that, and its next one is whole.
        """
        self._unknown(f"checkpoint of {message.execution_id}")
        self._unasked_count += 1
        if self._unasked_count > UNASKED_MAX:
            raise ProtocolError(f"more than {UNASKED_MAX} checkpoints that nobody waits for")
        self._send(CheckpointAck(checkpoint=message.id, problem="nobody waits for it"))

    def _checkpoint_lost(self, message: Checkpoint, error: Exception) -> None:
        """Where the code waits for an ack that will not come, its caller hears why and kills the worker."""
        if isinstance(error, ProtocolError):
            self._break(str(error), breach=True)
        waits = self._execution is not None and self._execution.checkpoint == "statement" and not message.final
        if waits and self._outcome is not None and not self._outcome.done():
            self._outcome.set_exception(error)

    def _unknown(self, key: str) -> None:
        self.unknown_replies += 1
        self._caused(ReplyUnknown(self.name, key[:KEY_CHARS_MAX]))

    # --- the end ---------------------------------------------------------------------------------------------

    def _break(self, why: str, *, breach: bool = False) -> None:
        """The worker does not answer, or broke the protocol (`breach`): it is killed, and its waiters hear why."""
        if not self._broken and self.state is not WorkerState.TERMINATED:
            self._broken, self._breach = why, breach
            self._decoder.close()
            self._go(WorkerEvent.FAILED)
            self.kill()

    def _process_ended(self, reason: str) -> None:
        self._decoder.close()  # this object may live on, until Python's collector comes
        self._printed.tell_dropped()
        self.end_reason = f"broke the protocol: {self._broken}" if self._broken else reason
        self._go(WorkerEvent.ENDED)
        if self.group is not None:
            self.group.kill()  # also what left the worker's process group
            self.starved_at = self.group.memory_peak() if self.group.killed_for_memory() else None
            threading.Thread(target=self.group.remove, name=f"group of {self.name}").start()
        self._keeping.worker_ended()
        if self._breach:
            give_back_beside()  # it may have sent many MiB at once
        self._caused.flush()
        self._observer(WorkerEnded(self.name, self.pid, self.end_reason))
        unread = self._transport is not None and self._transport.untaken and self._executed_at == self._writes  # S6
        died = ProtocolError(self._death()) if self._breach else WorkerDied(self._death(), begun=not unread)
        self._fail_waiters(died)
        self.ended.set()

    def _death(self) -> str:
        how = self.end_reason or (f"broke the protocol: {self._broken}" if self._broken else f"is {self.state}")
        return f"the worker of session {self.name!r} {how}"

    def _fail_waiters(self, error: Exception) -> None:
        for future in (self._hello, self._outcome, *self._replies.open()):
            if future is not None and not future.done():
                future.set_exception(error)
                future.exception()  # a waiter that nobody awaits any more is no warning
        self._execution = None
        self._calls.clear()
        self._beside.cancel()

    # --- small parts -----------------------------------------------------------------------------------------

    def _go(self, event: WorkerEvent) -> None:
        self.state = step(self.state, event)

    def _send(self, message: Message, attached: MemoryFile | None = None) -> None:
        self._write(encode(encode_message(message)), attached)

    def _write(self, frames: list[bytes | memoryview], attached: MemoryFile | None = None) -> None:
        if self._transport is not None:
            self._writes += 1
            self._transport.send(frames, attached)
