"""The process of a kernel: `python -P -m durable.integrations.jupyter -f CONNECTION_FILE [--store S] [--profile P]`.

What is imported here is what a kernel's start waits for.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from durable.integrations.jupyter.early_listening import listen_early

USAGE = "usage: python -m durable.integrations.jupyter -f FILE [--store STORE] [--profile open|isolated]"


class _Options(NamedTuple):
    """`connection` is the file in which Jupyter says what to bind; `profile` is how the session's worker is held."""

    connection: str
    store: str | None
    profile: str | None


def _options(arguments: list[str]) -> _Options:
    """Read what a kernelspec gives, without argparse, whose import a start would wait for. SystemExit says what is"""
    given: dict[str, str] = {}
    left = list(arguments)
    while left:
        name, equals, value = left.pop(0).partition("=")
        if name not in ("-f", "--store", "--profile") or not (equals or left):
            raise SystemExit(f"{USAGE}\nnot {' '.join([name, *left])!r}")
        given[name] = value if equals else left.pop(0)
    if "-f" not in given or given.get("--profile", "open") not in ("open", "isolated"):
        raise SystemExit(USAGE)
    return _Options(given["-f"], given.get("--store"), given.get("--profile"))


def main(arguments: list[str]) -> int:
    """Serve until told to end. The exit code."""
    options = _options(arguments)
    gc.disable()  # until the engine is imported: what is made by that stays
    os.environ["DURABLE_NOTEBOOK"] = "1"
    if os.environ.pop("DURABLE_SETS_HASH_SEED", None):  # the kernelspec's; it is set for this process, no other
        del os.environ["PYTHONHASHSEED"]
    notebook = os.environ.pop("JPY_SESSION_NAME", None)
    with open(options.connection, encoding="utf-8") as file:
        connection = json.load(file)
    listening = listen_early(connection)
    _start_worker(options.profile, listening.values())
    import asyncio

    notebook = notebook or str(connection.get("jupyter_session") or "") or None
    return asyncio.run(_serve(connection, listening, options, notebook))


def _start_worker(profile: str | None, listening: Iterable[int]) -> None:
    """Let the worker's process import what it needs, while this one does the same. The engine takes it over."""
    from bridge.launch.zygote_start import fork_ahead, start_ahead

    with suppress(OSError):  # the engine says so
        if profile == "isolated":
            from bridge.confine.confinement import kept_environment

            start_ahead(("bridge.confine.apply",), kept_environment(os.environ))
        else:
            fork_ahead(listening)


async def _serve(
    connection: dict[str, object], listening: Mapping[str, int], options: _Options, notebook: str | None
) -> int:
    import asyncio

    from durable.integrations.jupyter.kernel import Kernel, KernelOptions
    from durable.integrations.jupyter.kernel_sockets import KernelSockets
    from durable.integrations.jupyter.notebook_name import session_name, unnamed

    directory = Path.cwd()
    kernel = Kernel(
        KernelSockets(connection, listening),
        KernelOptions(
            store=options.store,
            session=unnamed(options.connection) if notebook is None else session_name(notebook, directory),
            unnamed=notebook is None,
            notebook=notebook,
            profile=options.profile,
            directory=directory,
        ),
    )
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, kernel.end)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # interrupts come as messages
    parent = os.environ.get("JPY_PARENT_PID")
    if parent is not None and parent.isdecimal():
        _end_with(int(parent), kernel.end)
    await kernel.run()
    kernel.sockets.close()
    return 0


def _end_with(parent: int, end: Callable[[], None]) -> None:
    """End when the process that started the kernel is gone: nobody could end it otherwise."""
    import asyncio

    try:
        descriptor = os.pidfd_open(parent)
    except OSError:
        return  # of another machine or container
    asyncio.get_running_loop().add_reader(descriptor, end)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
