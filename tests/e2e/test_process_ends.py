"""Whatever a program of `process` starts ends with it, with its limits, and with the engine (specs/capability.md)."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import durable
from capabilities.standard import process_supervisor

MANIFEST = {"grant": ["process"], "process": {"programs": ["sh", "true"]}}

ENGINE = f"""
import asyncio, sys, durable
async def main():
    async with durable.open(sys.argv[1], durability="process") as engine:
        session = await engine.session("desk", permissions={MANIFEST!r})
        await session.execute(sys.argv[2])
asyncio.run(main())
"""


class Started:
    """A program that starts others in sessions of their own, one of which has no parent left; all hold a FIFO open."""

    def __init__(self, directory: Path) -> None:
        self._held, self._up = directory / "held", directory / "up"
        os.mkfifo(self._held)
        os.mkfifo(self._up)
        self._fds = [os.open(self._held, os.O_RDONLY | os.O_NONBLOCK), os.open(self._up, os.O_RDWR | os.O_NONBLOCK)]

    def code(self, then: str) -> str:
        """Of a cell: they are started, and then."""
        line = f"exec 9>{self._held}; setsid sh -c 'setsid sleep 1000 & (setsid sleep 1000 &); echo up > {self._up}; "
        return f"""process('sh', ['-c', {line + "exec sleep 1000' & " + then.format(up=self._up)!r}])"""

    async def up(self) -> None:
        """They are there."""
        await self._readable(self._fds[1])
        assert os.read(self._fds[1], 100) == b"up\n"

    async def ended(self) -> None:
        """The last of them has let go."""
        await self._readable(self._fds[0])
        assert os.read(self._fds[0], 1) == b""

    async def _readable(self, fd: int) -> None:
        loop = asyncio.get_running_loop()
        found = asyncio.Event()
        loop.add_reader(fd, found.set)
        try:
            async with asyncio.timeout(30):
                await found.wait()
        finally:
            loop.remove_reader(fd)

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)


@pytest.fixture
async def started(tmp_path: Path) -> AsyncIterator[Started]:
    found = Started(tmp_path)
    yield found
    found.close()


@pytest.fixture
async def session(tmp_path: Path) -> AsyncIterator[durable.Session]:
    async with durable.open(tmp_path / "work.db", durability="process") as engine:
        yield await engine.session("desk", permissions=MANIFEST)


async def test_what_a_program_leaves_running_ends_with_it(session: durable.Session, started: Started) -> None:
    result = await session.execute(started.code("read -r line < {up}; echo $line; exit 3"))
    assert result.value == {"exit_code": 3, "stdout": "up\n", "stderr": "", "truncated": False}
    await started.ended()


async def test_it_ends_with_a_program_that_prints_too_much(session: durable.Session, started: Started) -> None:
    then = "read -r line < {up}; head -c 2000000 /dev/zero; sleep 1000"
    result = await session.execute(f"r = {started.code(then)}; [r['exit_code'], len(r['stdout']), r['truncated']]")
    assert result.value == [-9, 2**20, True]
    await started.ended()


async def test_it_ends_with_the_engine_that_is_killed(tmp_path: Path, started: Started) -> None:
    command = ("-c", ENGINE, str(tmp_path / "work.db"), started.code("sleep 1000"))
    engine = await asyncio.create_subprocess_exec(sys.executable, *command)
    await started.up()
    engine.kill()
    await engine.wait()
    await started.ended()


async def test_how_a_program_ended_is_told_as_ever(session: durable.Session, tmp_path: Path) -> None:
    script = tmp_path / "no_program"
    script.write_text("not a program")
    script.chmod(0o700)
    await session.reload({"grant": ["process", f"process:{script}"], "process": {"programs": ["sh", "true"]}})
    result = await session.execute("[process('sh', ['-c', 'kill -15 $$'])['exit_code'], process('true')['exit_code']]")
    assert result.value == [-15, 0]
    result = await session.execute(f"process({str(script)!r})")
    assert result.error is not None
    assert "Exec format error" in str(result.error)
    result = await session.execute("process('sh', ['-c', 'kill -9 $PPID; sleep 0.01'])")
    assert result.error is not None
    assert "supervisor was killed" in str(result.error)


async def test_children_are_found_without_help_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    child = await asyncio.create_subprocess_exec("sleep", "1000")
    try:
        assert child.pid in process_supervisor._children()
        monkeypatch.setattr(process_supervisor, "open", _no_children_file, raising=False)
        assert child.pid in process_supervisor._children()
    finally:
        child.kill()
        await child.wait()


def _no_children_file(path: str, *arguments: str, **options: str) -> object:
    if path.endswith("/children"):
        raise FileNotFoundError(path)
    return open(path, *arguments, **options)  # type: ignore[call-overload]
