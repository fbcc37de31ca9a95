"""The meter of one call, in a wasmtime store of its own: fuel, limits, deadline, output, the error that ends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wasmtime import ExitTrap, Store, Trap, WasmtimeError

from capabilities.sandbox.errors import ExecutionFailed, SandboxError, Used
from capabilities.sandbox.limits import INSTANCES_MAX, MEMORIES_MAX, TABLES_MAX, SandboxLimits
from capabilities.sandbox.wasm.deadline import DeadlineGuard
from capabilities.sandbox.wasm.runtime import Runtime
from capabilities.sandbox.wasm.verdict import CallEnd, verdict
from capabilities.sandbox.wasm.wasi import Captured
from durable.core.errors import DurableError

FUEL_UNLIMITED = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """The value that a call gave, and what it used."""

    value: Any
    used: Used


class FuelMeter:
    """The common part of calls of modules and of components. Not for two threads at once; dead after an error."""

    def __init__(self, runtime: Runtime, limits: SandboxLimits, component: str) -> None:
        self.runtime = runtime
        self.limits = limits
        self.component = component
        self.output = Captured(limits.output)
        self.store = Store(runtime.engine)
        self.guard = DeadlineGuard(self.store)
        self.guard.host_call_ms = limits.host_call_ms
        self.guard.cpu_ms = limits.cpu_ms
        self.store.set_limits(limits.memory, limits.table_elements, INSTANCES_MAX, TABLES_MAX, MEMORIES_MAX)
        self._fuel = FUEL_UNLIMITED if limits.fuel is None else limits.fuel
        self._dead = False
        self._entered = 0
        self._ended: Used | None = None
        """The use of the call, once it is closed."""

    def cancel(self) -> None:
        """Stop it, from any thread."""
        self.guard.cancel()
        self.runtime.nudge()

    def fuel_used(self) -> int | None:
        """Fuel used by the call that runs, or the last one; None where it is not known."""
        if self._ended is not None:
            return self._ended.fuel
        if not self.runtime.metered or self.guard.interrupted or self.guard.cancelled:
            return None  # after an interrupt it reads as none left
        return self._fuel - int(self.store.get_fuel())

    def memory_used(self) -> int | None:
        """Bytes of memory that can be seen from outside; None when there is none."""
        return None if self._ended is None else self._ended.memory

    @property
    def closed(self) -> bool:
        """Whether all that it held was given back."""
        return self._ended is not None

    def used(self) -> Used:
        """The use of the last call, as far as known."""
        return self._used() if self._ended is None else self._ended

    def close(self) -> None:
        """Give back all that it holds, now: it may be much, and Python's collector does not know. Nothing may run in
        it. Idempotent.
        """
        self._dead = True
        if self._ended is None:
            self._ended = self._used()
            self.store.close()

    def guarded(self, function: str, work: Callable[[], Any]) -> Outcome:
        """Do it under the limits of this call. ExecutionFailed, or the one error of what stopped it."""
        if self._dead:
            raise ExecutionFailed(function, "an earlier call ended in an error: take a fresh instance")
        self._entered += 1
        try:
            return self._guarded(work)
        finally:
            self._entered -= 1
            if self._dead and not self._entered:  # else a host function of its own called it
                self.close()

    def _guarded(self, work: Callable[[], Any]) -> Outcome:
        if self.runtime.metered:
            self.store.set_fuel(self._fuel)
        with self.runtime.running():
            self.guard.begin(self.limits.timeout_ms)
            try:
                value = work()
            except ExecutionFailed as error:
                error.used = self._used()
                raise
            except (Trap, WasmtimeError) as error:
                self._dead = True
                if isinstance(error, ExitTrap) and error.code == 0 and self.guard.host is None:
                    return Outcome(None, self._used())  # a program that ends itself, and says that all is well
                ended = self._verdict(error)
                raise ended from ended.__cause__
            except SandboxError as error:  # what the code itself answered with
                error.used = self._used()
                raise
            finally:
                self.guard.end()
        return Outcome(value, self._used())

    def _verdict(self, error: Trap | WasmtimeError) -> DurableError:
        guard = self.guard
        status = error.code if isinstance(error, ExitTrap) else None
        end = CallEnd(
            str(error), self._used(), guard.host, status, guard.cancelled, guard.interrupted, cpu_over=guard.cpu_over
        )
        return verdict(end, self.limits, self.component)

    def _used(self) -> Used:
        out, err = self.output.text("stdout"), self.output.text("stderr")
        return Used(self.guard.elapsed_ms, self.fuel_used(), self.memory_used(), out, err, self.limits.memory)
