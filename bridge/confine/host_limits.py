"""The engine's half of a session's limits: what the kernel has no limit for, and what its refusals mean."""

from __future__ import annotations

import asyncio
import math
import os
import resource
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from bridge.confine.cgroup import OWN_BYTES
from bridge.confine.limits import Limits, Resource, ran_out
from bridge.confine.usage import TreeUsage
from bridge.host.proc_vitals import cpu_seconds, memory_peak
from bridge.host.worker_session import WorkerSession
from bridge.protocol.messages import Error, Execute, Message, Output, Result
from durable.core.errors import ResourceExceeded, WorkerDied

LOOK_S_MIN, LOOK_S_MAX = 0.02, 1.0
"""Seconds between two looks at a running execution: about when it can next be over a limit, within these."""

SUM_S = 0.1
"""Seconds between two looks that add up a tree of processes, where no control group limits it."""

_CPUS = os.cpu_count() or 1


async def execute_within(
    worker: WorkerSession, request: Execute, limits: Limits, waits: Callable[[], bool]
) -> Result | Error | ResourceExceeded:
    """`worker.execute` under the limits. Raises what it raises, but a death by a limit is returned as what it was.

    `waits` tells whether the code waits for the host at this moment: that time is not counted.
    """
    if not limits:
        return await worker.execute(request)
    watch = LimitsWatch(worker, request.id, limits, waits)
    if worker.watch is not None:
        worker.watch.end()
    worker.add_interceptor(watch.see)
    watch.begin()
    try:
        reply = await worker.execute(request)
    except WorkerDied:
        await worker.wait_ended()
        exceeded = watch.cause_of_death(worker.end_reason)
        if exceeded is None:
            raise
        return exceeded
    finally:
        watch.rest()
        worker.watch = watch
        worker.remove_interceptor(watch.see)
    if watch.found is not None:  # its end came in the same breath as what was too much
        await worker.wait_ended()
        return watch.found
    return watch.meaning(reply) if isinstance(reply, Error) else reply


def _tree(worker: WorkerSession, limits: Limits) -> TreeUsage | None:
    """The count that stands in for a control group; None where there is one, or nothing to count."""
    if limits.memory is None and limits.cpu is None:
        return None
    group = worker.group
    if group is not None and group.holds_memory and group.cpu_seconds() is not None:
        return None
    return TreeUsage(worker.pid, isolated=worker.confinement.profile == "isolated")


class LimitsWatch:
    """One execution's use of CPU time, time and output; ends the worker when it is too much."""

    def __init__(self, worker: WorkerSession, execution: str, limits: Limits, waits: Callable[[], bool]) -> None:
        self._worker = worker
        self._execution = execution
        self._limits = limits
        self._waits = waits
        self.found: ResourceExceeded | None = None
        """The limit that was exceeded; the worker is being killed then."""
        self._printed = 0
        self._ran_s = 0.0
        self._looked_at = monotonic()
        self._tree = _tree(worker, limits)
        self._cpu_before = self._cpu()
        self._timer: asyncio.TimerHandle | None = None
        self._resting = False

    def begin(self) -> None:
        """Set the kernel's CPU limit for this execution, and look again when a limit may be passed."""
        if self._limits.cpu is not None:
            used = cpu_seconds(self._worker.pid) or 0.0
            soft = math.ceil(used + self._limits.cpu) + 1  # the look comes first, where there is one
            with suppress(ProcessLookupError, PermissionError):
                hard = resource.prlimit(self._worker.pid, resource.RLIMIT_CPU)[1]
                allowed = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
                resource.prlimit(self._worker.pid, resource.RLIMIT_CPU, (allowed, hard))
        self._look()

    def rest(self) -> None:
        """The execution is over; what it left running goes on to count until the next one begins."""
        self._resting = True

    def end(self) -> None:
        """Stop counting."""
        if self._timer is not None:
            self._timer.cancel()

    def _cpu(self) -> float:
        """CPU time of the worker and of all that it started, ended ones included."""
        group = None if self._worker.group is None else self._worker.group.cpu_seconds()
        if group is not None:
            return group
        return (cpu_seconds(self._worker.pid) or 0.0) if self._tree is None else self._tree.cpu_seconds()

    def see(self, message: Message) -> None:
        """An interceptor: counts what is printed."""
        limit = self._limits.output
        if limit is None or not isinstance(message, Output) or message.execution_id != self._execution:
            return
        data = message.data
        self._printed += len(data) if data.isascii() else len(data.encode("utf-8", "replace"))
        if self._printed > limit:
            self._over("output", limit, self._printed)

    def _look(self) -> None:
        now = monotonic()
        if self._worker.ended.is_set():
            return
        if not self._resting and not self._waits():
            self._ran_s += now - self._looked_at
        self._looked_at = now
        left = [LOOK_S_MAX]
        if self._limits.wall is not None and not self._resting:
            left.append(self._limits.wall - self._ran_s)
            if left[-1] <= 0:
                self._over("wall", self._limits.wall, self._ran_s)
                return
        if self._limits.cpu is not None:
            used = self._cpu() - self._cpu_before
            left.append((self._limits.cpu - used) / _CPUS)
            if left[-1] <= 0:
                self._over("cpu", self._limits.cpu, used)
                return
        if self._tree is not None:
            left.append(SUM_S)
            held = self._tree.memory_bytes() if self._limits.memory is not None else 0
            if self._limits.memory is not None and held > self._limits.memory + OWN_BYTES:
                self._over("memory", self._limits.memory, held)
                return
        if len(left) > 1:
            self._timer = asyncio.get_running_loop().call_later(max(LOOK_S_MIN, min(left)), self._look)

    def _over(self, which: Resource, limit: float, used: float) -> None:
        if self.found is None:
            self.found = ResourceExceeded.of(which, limit, used, execution_id=self._execution)
            self._worker.kill()

    def cause_of_death(self, reason: str) -> ResourceExceeded | None:
        """Which limit ended the worker; None when something else did."""
        if self.found is None and self._limits.cpu is not None and "SIGXCPU" in reason:
            return ResourceExceeded.of("cpu", self._limits.cpu, self._limits.cpu, execution_id=self._execution)
        held, memory = self._worker.starved_at, self._limits.memory
        if self.found is None and memory is not None and held is not None:
            return ResourceExceeded.of("memory", memory, held, execution_id=self._execution)
        return self.found

    def meaning(self, reply: Error) -> Error | ResourceExceeded:
        """The code's own error, or the resource of which the kernel refused it more."""
        which = ran_out(self._limits, reply.exception_type, reply.exception_message)
        if which is None:
            return reply
        limit: float = getattr(self._limits, which)
        used = memory_peak(self._worker.pid) if which == "memory" else None
        return ResourceExceeded.of(
            which, limit, limit if used is None else used, traceback=reply.traceback, execution_id=self._execution
        )
