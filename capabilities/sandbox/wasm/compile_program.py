"""The program that compiles foreign code, run by `compile_process` for each module or component.

`python -m capabilities.sandbox.wasm.compile_program module|component metered|unmetered SECONDS` reads code from
standard input and writes what wasmtime makes of it.
"""

from __future__ import annotations

import os
import resource
import sys

from capabilities.sandbox.errors import ComponentParseFailed, ComponentValidationFailed
from capabilities.sandbox.wasm.compile_process import (
    ARTEFACT_BYTES_MAX,
    COMPILE_BYTES,
    REFUSED,
    TOO_LARGE,
    TOO_MANY_NAMES,
    check_names,
)
from capabilities.sandbox.wasm.runtime import Runtime, names


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
    data = sys.stdin.buffer.read()
    runtime = Runtime(metered=metered == "metered")
    try:
        made = runtime.compile_here(data, "", component=kind == "component")
        check_names("", names(runtime.engine, made))
    except ComponentParseFailed as error:
        return _said(error.reason, REFUSED)
    except ComponentValidationFailed as error:
        return _said(error.reason, TOO_MANY_NAMES)
    artefact = made.serialize()
    if len(artefact) > ARTEFACT_BYTES_MAX:
        return TOO_LARGE
    sys.stdout.buffer.write(artefact)
    sys.stdout.buffer.flush()
    return 0


def _said(text: str, code: int) -> int:
    sys.stderr.write(text)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
