"""When the worker captures its namespace, and how that becomes a message (specs/session.md, Checkpoint rule)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter_ns
from typing import TYPE_CHECKING

from bridge.protocol.messages import Wire
from bridge.worker.calls.capability_functions import granted
from bridge.worker.io.channel import Channel, Waiter, attached
from bridge.worker.namespace.main_module import ENGINE_INTERNALS, Namespace
from bridge.worker.run.checkpoint_rule import Rule
from bridge.worker.run.sigint_gate import Gate
from checkpoint.capture.forked_capture import Aside, reap_ended, resident_bytes
from durable.core.standard_names import STANDARD_NAMES

if TYPE_CHECKING:
    from checkpoint.capture.incremental_capture import Capturer

COST_FACTOR = 10
"""A capture may take at most about a tenth of the time that code runs."""

INTERVAL_NS_MAX = 2_000_000_000
"""Running code is captured at least this often, at statement boundaries."""

COST_NS_FIRST = 1_000_000
"""Taken as the cost before anything was captured."""


class CaptureWaiter(Waiter):
    """Expects the host to have a checkpoint. A forked child that made it is ending by then, and is collected."""

    __slots__ = ()

    def deliver(self, channel: Channel, reply: Wire) -> None:
        super().deliver(channel, reply)
        reap_ended()


class Checkpoints:
    """Captures at boundaries and sends; the capture itself is the checkpoint package's.

    A long one is made by a forked child, which streams it to the host; until the host acknowledges it, no other begins.
    """

    def __init__(self, channel: Channel, gate: Gate, namespace: Namespace) -> None:
        self._channel = channel
        self._gate = gate
        self._namespace = namespace
        self._capturer: Capturer | None = None
        self.muted: Callable[[], AbstractContextManager[None]] = nullcontext
        """A context in which what is printed is thrown away; set by the worker."""
        self.fresh = True
        """Whether nothing ran here yet: a restore brings the engine's own names back too."""
        self._cost_ns = COST_NS_FIRST
        self._began_bytes = resident_bytes()
        self._captured_at = perf_counter_ns()
        self._aside: tuple[Aside, Waiter] | None = None

    def due(self, rule: Rule, *, called: bool) -> bool:
        """Whether the rule saves at the boundary after a statement."""
        if rule.held or rule.mode == "none":
            return False
        if rule.mode == "statement":
            return True
        every_ns = rule.every_ns or min(COST_FACTOR * self._cost_ns, INTERVAL_NS_MAX)
        if not called and perf_counter_ns() - self._captured_at < every_ns:
            return False
        if self._aside is not None:
            self._channel.read_available()
        return self._settled(wait=False)

    def send(self, fields: Wire, *, wait: bool) -> None:
        """Capture and send a checkpoint with these fields; with `wait`, go on when the host has it. SIGINT is kept."""
        message: Wire = {"type": "checkpoint", "id": self._channel.next_id(), **fields}
        with self._gate.masked():
            self._settled(wait=True)
            waiter = CaptureWaiter()
            message.update(self._capture(message, waiter, aside=not wait))
            if wait or "stream" in message:
                self._channel.expect(message["id"], waiter)
            self._channel.send(message)
            while wait and waiter.reply is None:
                self._channel.pump(None)

    def _settled(self, *, wait: bool) -> bool:
        """Whether no capture is under way in a child; with `wait`, after it ended (its alarm sees to that)."""
        if self._aside is None:
            return True
        aside, waiter = self._aside
        while wait and waiter.reply is None:
            self._channel.pump(None)
        if waiter.reply is None:
            return False
        self._aside = None
        self._the_capturer().settle(aside, stored=not waiter.reply["problem"])
        self._cost_ns = max(self._cost_ns, self._the_capturer().cost_ns)
        return True

    def made_by(self, names: Iterable[str], execution: str) -> None:
        """Note that those names come from that execution, whoever asks for the next capture."""
        self._the_capturer().made_by(names, execution)

    def forget(self) -> None:
        """The engine could not keep what it asked for: the next capture is whole."""
        if self._capturer is not None:
            self._capturer.forget()

    def restore(self, message: Wire) -> Wire:
        """Bring a namespace back; the reply to send."""
        reply: Wire = {"type": "restored", "restore": message["id"], "report": {}, "problem": ""}
        if message["memory"] and not message["attached"]:
            self._channel.awaits_descriptor = True
            return {**reply, "ready": True}
        self._settled(wait=True)
        try:
            from checkpoint.restore import restore_into

            data = attached(self._channel, message["memory"]) if message["memory"] else message["data"]
            with self.muted():
                reply["report"] = restore_into(
                    self._namespace,
                    data,
                    clear_existing=message["clear_existing"],
                    internals=ENGINE_INTERNALS,
                    fresh=self.fresh,
                    override_environment=message["override_environment"],
                    externals=granted(),
                    placed=self._the_capturer().placed,
                )
            self.fresh = False
            self._the_capturer().prime(data)
        except Exception as error:
            reply["problem"] = f"{type(error).__qualname__}: {error}"
        return reply

    def _capture(self, message: Wire, waiter: Waiter, *, aside: bool) -> Wire:
        started = perf_counter_ns()
        try:
            capturer = self._the_capturer()
            execution = message.get("execution_id", "")
            with self.muted():
                made = capturer.capture_aside(execution) if aside else capturer.capture(execution)
        except BaseException as error:
            return {"problem": f"{type(error).__qualname__}: {error}"}
        finally:
            self._captured_at = perf_counter_ns()
            self._cost_ns = self._captured_at - started
        if isinstance(made, Aside):
            self._aside = made, waiter
            return {"stream": made.reader, "cost_ns": self._cost_ns}
        lost = [{"name": one.name, "kind": one.kind, "reason": one.reason} for one in made.lost]
        return {"data": made.payload, "lost": lost, "cost_ns": self._cost_ns}

    def _the_capturer(self) -> Capturer:
        if self._capturer is None:
            from checkpoint.capture.incremental_capture import Capturer  # only journaled sessions pay for its import

            self._capturer = Capturer(
                self._namespace, ENGINE_INTERNALS, externals=granted(), began_bytes=self._began_bytes
            )
        return self._capturer


def explain(error: BaseException) -> None:
    """Say in a NameError why the name is not there: a restore could not bring it back, or it was not granted."""
    import sys

    if not isinstance(error, NameError) or not error.name:
        return
    restore = sys.modules.get("checkpoint.restore")
    why = None if restore is None else restore.explain_name_error(error.name)
    if why is None and error.name in STANDARD_NAMES:
        why = "the capability of that name is not granted to this session"
    if why:
        error.args = (f"{error}: {why.removesuffix('.')}", *error.args[1:])  # Python may add ". Did you mean: …?"
