"""Compiling foreign code in a process of its own: wasmtime sets no limit to what it takes (specs/sandbox.md, S12). A
module of 64 KB can cost half a minute of two processors, one of 300 KB gigabytes.

`python -m capabilities.sandbox.wasm.compile_process module|component metered|unmetered` reads code and writes what
is compiled.
"""

from __future__ import annotations

import os
import resource
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
AT_ONCE = 2

_REFUSED, _NAMES, _LARGE = 3, 4, 5
_TEXT_BYTES = 4_000
_turns = threading.BoundedSemaphore(AT_ONCE)


def compiled(data: bytes, name: str, *, component: bool, metered: bool, seconds: int = COMPILE_S) -> bytes:
    """The code as wasmtime compiles it. ComponentParseFailed; ResourceLimitExceeded for what costs too much."""
    kind = "component" if component else "module"
    command = [sys.executable, "-P", "-m", __spec__.name, kind, "metered" if metered else "unmetered", str(seconds)]
    with _turns:
        try:
            done = subprocess.run(command, input=data, capture_output=True, timeout=seconds * WALL_FACTOR, check=False)
        except subprocess.TimeoutExpired:
            raise _costly(name, "time", seconds) from None
    if done.returncode == 0:
        return done.stdout
    said = done.stderr[:_TEXT_BYTES].decode(errors="replace").strip()
    if done.returncode == _REFUSED:
        raise ComponentParseFailed(name, said)
    if done.returncode == _NAMES:
        raise ComponentValidationFailed(name, said)
    if done.returncode == _LARGE:
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


def main(kind: str, metered: str, seconds: str) -> int:
    """Compile standard input to standard output, within limits that this process sets itself."""
    for what, limit in (
        (resource.RLIMIT_CPU, int(seconds)),
        (resource.RLIMIT_AS, COMPILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (most, most))
    os.nice(10)
    from capabilities.sandbox.wasm.runtime import Runtime, names

    data = sys.stdin.buffer.read()
    runtime = Runtime(metered=metered == "metered")
    try:
        made = runtime.compile_here(data, "", component=kind == "component")
        check_names("", names(runtime.engine, made))
    except ComponentParseFailed as error:
        return _said(error.reason, _REFUSED)
    except ComponentValidationFailed as error:
        return _said(error.reason, _NAMES)
    artefact = made.serialize()
    if len(artefact) > ARTEFACT_BYTES_MAX:
        return _LARGE
    sys.stdout.buffer.write(artefact)
    sys.stdout.buffer.flush()
    return 0


def _said(text: str, code: int) -> int:
    sys.stderr.write(text)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
