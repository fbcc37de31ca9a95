"""The harness's side of a contender: its process, its turns, its end (the other side: turns.py)."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from benchmarks.peers import PROJECT

READY_S = 120.0
TURN_S = 180.0
END_S = 20.0
LINE_BYTES_MAX = 2**24


class ContenderFailed(Exception):
    """It could not start or take its turn; the text says why."""


class Contender:
    """One contender's process, from `start` to `close`."""

    def __init__(self, command: list[str], directory: Path) -> None:
        self._command = command
        self._directory = directory
        self._log = directory / f"{command[2].rpartition('.')[2]}.{id(self):x}.log"
        self._process: asyncio.subprocess.Process | None = None
        self.about = ""

    async def start(self) -> None:
        """Start it and wait until it is set up."""
        environment = {**os.environ, "BENCHMARKS_DIR": str(self._directory)}
        try:
            with self._log.open("wb") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    cwd=PROJECT,
                    env=environment,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                    limit=LINE_BYTES_MAX,
                )
        except OSError as error:
            raise ContenderFailed(str(error)) from None
        self.about = (await self._answer(READY_S))["ready"]

    async def turn(self, name: str, size: int) -> list[float]:
        """Let it take a turn; its samples."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"turn": name, "size": size}).encode() + b"\n")
        answer = await self._answer(TURN_S)
        if "error" in answer:
            raise ContenderFailed(answer["error"])
        samples: list[float] = answer["samples"]
        return samples

    async def close(self) -> None:
        """End it: by the end of its stdin, and if that does not do it, by force."""
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), END_S)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _answer(self, timeout_s: float) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), timeout_s)
        except TimeoutError:
            raise ContenderFailed(f"no answer within {timeout_s:g} s; {self._last_words()}") from None
        if not line:
            raise ContenderFailed(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it ended without a word"
