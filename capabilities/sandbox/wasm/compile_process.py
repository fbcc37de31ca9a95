"""Compiling foreign code in a process of its own (`compile_program.py`): wasmtime sets no limit to what it takes.

A module of 64 KB can cost half a minute of two processors, one of 300 KB gigabytes (specs/sandbox.md, S12).
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

from capabilities.sandbox.errors import ComponentParseFailed, ComponentValidationFailed, ResourceLimitExceeded

CODE_BYTES_MAX = 64 * 1024 * 1024
"""Bytes of a module or component: CPython as a component has 18 MB, StarlingMonkey 12."""
SMALL_BYTES = 1024
"""Compiled here: the worst of this size that was found takes a fifth of a second, the process of its own a tenth."""
COMPILE_S = 60
"""CPU seconds of one compilation. CPython as a component takes 10."""
WALL_FACTOR = 5
"""So many times as long by the clock: a busy machine gives little to what is niced."""
COMPILE_BYTES = 2 * 1024 * 1024 * 1024
"""Address space of one compilation. CPython as a component takes 0.6 GB."""
ARTEFACT_BYTES_MAX = 512 * 1024 * 1024
"""Compiled, code may be a thousand times as large as it was."""
NAMES_MAX = 10_000
"""Imports and exports of one module: Python has an object for each, in each call."""
PROCESSES_MAX = 2

COMPILER = "capabilities.sandbox.wasm.compile_program"
REFUSED, TOO_MANY_NAMES, TOO_LARGE = 3, 4, 5
"""Exit codes of the compiler."""
_TEXT_BYTES = 4_000
_turns = threading.BoundedSemaphore(PROCESSES_MAX)


def compiled(data: bytes, name: str, *, component: bool, metered: bool, seconds: int = COMPILE_S) -> bytes:
    """The code as wasmtime compiles it. ComponentParseFailed; ResourceLimitExceeded for what costs too much."""
    kind = "component" if component else "module"
    command = [sys.executable, "-P", "-m", COMPILER, kind, "metered" if metered else "unmetered", str(seconds)]
    with _turns:
        try:
            done = subprocess.run(command, input=data, capture_output=True, timeout=seconds * WALL_FACTOR, check=False)
        except subprocess.TimeoutExpired:
            raise _costly(name, "time", seconds) from None
    if done.returncode == 0:
        return done.stdout
    said = done.stderr[:_TEXT_BYTES].decode(errors="replace").strip()
    if done.returncode == REFUSED:
        raise ComponentParseFailed(name, said)
    if done.returncode == TOO_MANY_NAMES:
        raise ComponentValidationFailed(name, said)
    if done.returncode == TOO_LARGE:
        raise _costly(name, "bytes of compiled code", ARTEFACT_BYTES_MAX)
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        raise _costly(name, "time", seconds)
    if done.returncode in (-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS):
        raise _costly(name, "memory", COMPILE_BYTES)  # what Rust does without memory
    raise ComponentParseFailed(name, f"the compiler ended with {done.returncode}: {said[-500:]}")


def check_names(name: str, count: int) -> None:
    """ComponentValidationFailed for more imports and exports than a call can look at."""
    if count > NAMES_MAX:
        raise ComponentValidationFailed(name, f"it has {count} imports and exports; at most {NAMES_MAX} are taken")


def check_size(name: str, size: int) -> None:
    """ResourceLimitExceeded for code that is not even read."""
    if size > CODE_BYTES_MAX:
        raise ResourceLimitExceeded(
            "bytes of code", CODE_BYTES_MAX, size, f"{name} has {size} bytes of code; {CODE_BYTES_MAX} are allowed"
        )


def _costly(name: str, what: str, limit: int) -> ResourceLimitExceeded:
    return ResourceLimitExceeded(
        f"compilation {what}", limit, None, f"{name} takes more {what} to compile than is allowed ({limit})"
    )
