"""Types commands for `cli_process.Terminal`: each a process of its own, forked from one that has imported everything.

Reads a JSON line for each command, runs it to its end, and writes what it came to; one at a time.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import sys
import tempfile
import time
from typing import Any

PATIENCE_S = 60


def preload() -> None:
    """What commands import sooner or later."""
    from durable.cli import commands

    for module in pkgutil.iter_modules(commands.__path__, f"{commands.__name__}."):
        importlib.import_module(module.name)
    for name in (
        "durable.engine.engine",
        "durable.functions",
        "durable.store.sqlite.store",
        "aiohttp",
        "pydantic",
        "resonate",
    ):
        importlib.import_module(name)


def main() -> None:
    preload()
    gc.freeze()  # commands end sooner that do not look through all of it
    answers = os.dup(1)
    while request := sys.stdin.buffer.readline():
        asked = json.loads(request)
        with tempfile.TemporaryFile() as given:
            given.write(asked["stdin"].encode())
            given.seek(0)
            out, err = os.pipe(), os.pipe()
            child = os.fork()
            if not child:
                for number, descriptor in enumerate((given.fileno(), out[1], err[1])):
                    os.dup2(descriptor, number)
                for descriptor in (answers, *out, *err):
                    os.close(descriptor)
                become(asked)
                return
        os.close(out[1])
        os.close(err[1])
        said = read(child, out[0], err[0])
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        done = {"code": code, "out": said[out[0]], "err": said[err[0]]}
        os.write(answers, json.dumps(done).encode() + b"\n")


def become(asked: dict[str, Any]) -> None:
    """The command, as `python -m durable.cli` has it."""
    os.chdir(asked["cwd"])
    sys.path[0] = asked["cwd"]
    sys.argv = ["durable", *asked["words"]]
    runpy.run_module("durable.cli", run_name="__main__", alter_sys=True)


def read(child: int, *ends: int) -> dict[int, str]:
    """What it says until nobody holds its streams any more; it is killed when that takes too long."""
    said = dict.fromkeys(ends, b"")
    until = time.monotonic() + PATIENCE_S
    with selectors.DefaultSelector() as waiting:
        for end in ends:
            waiting.register(end, selectors.EVENT_READ)
        while waiting.get_map():
            ready = waiting.select(max(0.0, until - time.monotonic()))
            if not ready:
                os.kill(child, signal.SIGKILL)
                break
            for key, _ in ready:
                found = os.read(key.fd, 65_536)
                said[key.fd] += found
                if not found:
                    waiting.unregister(key.fd)
    for end in ends:
        os.close(end)
    return {end: text.decode() for end, text in said.items()}


if __name__ == "__main__":
    main()
