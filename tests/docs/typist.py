"""Runs the documentation's commands and programs: each a process of its own, forked from one that has imported the
engine, so that a page costs what it does and not what it imports.

Reads a JSON line for each, runs it to its end, and writes how it ended and what it said.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import sys
from typing import Any

from tests.e2e.typist import preload, read


def main() -> None:
    preload()
    gc.freeze()
    answers = os.dup(1)
    while request := sys.stdin.buffer.readline():
        asked = json.loads(request)
        ours, theirs = os.pipe()
        child = os.fork()
        if not child:
            nothing = os.open(os.devnull, os.O_RDONLY)
            for number, descriptor in enumerate((nothing, theirs, theirs)):
                os.dup2(descriptor, number)
            for descriptor in (answers, ours, theirs, nothing):
                os.close(descriptor)
            become(asked)
            return
        os.close(theirs)
        said = read(child, ours)[ours]
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        code = code if code >= 0 else 128 - code  # as a shell says it
        os.write(answers, json.dumps({"code": code, "said": said}).encode() + b"\n")


def become(asked: dict[str, Any]) -> None:
    """The command or program that was asked for."""
    os.chdir(asked["cwd"])
    os.environ.update(asked["variables"])
    words = asked["words"]
    sys.path[0] = asked["cwd"]
    if words[0] == "durable":
        sys.argv = words
        runpy.run_module("durable.cli", run_name="__main__", alter_sys=True)
        return
    if words[0] != "python":
        os.execvp(words[0], words)
    sys.argv = words[1:]
    runpy.run_path(words[1], run_name="__main__")


if __name__ == "__main__":
    main()
