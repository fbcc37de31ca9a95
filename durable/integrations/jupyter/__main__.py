"""The process of a kernel: `python -P -m durable.integrations.jupyter -f CONNECTION_FILE`."""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bridge.launch.zygote_start import start_ahead


def main(arguments: list[str]) -> int:
    """Serve until told to end. The exit code."""
    parser = argparse.ArgumentParser(prog="durable.integrations.jupyter", description=__doc__)
    parser.add_argument("-f", dest="connection", metavar="FILE", required=True, help="Where Jupyter says what to bind.")
    parser.add_argument("--store", help="The store of the notebook's session.")
    parser.add_argument("--profile", choices=["open", "isolated"], help="How the session's worker is held.")
    options = parser.parse_args(arguments)
    gc.disable()  # until the engine is imported: what is made by that stays
    os.environ["DURABLE_NOTEBOOK"] = "1"
    notebook = os.environ.pop("JPY_SESSION_NAME", None)
    _start_worker(options.profile)
    with open(options.connection, encoding="utf-8") as file:
        connection = json.load(file)
    import asyncio

    return asyncio.run(_serve(connection, options, notebook or str(connection.get("jupyter_session") or "") or None))


def _start_worker(profile: str | None) -> None:
    """Let the worker's process import what it needs, while this one does the same. The engine takes it over."""
    with suppress(OSError):  # the engine says so
        if profile == "isolated":
            from bridge.confine.confinement import kept_environment

            start_ahead(("bridge.confine.apply",), kept_environment(os.environ))
        else:
            start_ahead((), os.environ)


async def _serve(connection: dict[str, object], options: argparse.Namespace, notebook: str | None) -> int:
    import asyncio

    from durable.integrations.jupyter.kernel import Kernel, KernelOptions
    from durable.integrations.jupyter.kernel_sockets import KernelSockets
    from durable.integrations.jupyter.notebook_name import session_name, unnamed

    directory = Path.cwd()
    kernel = Kernel(
        KernelSockets(connection),
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
