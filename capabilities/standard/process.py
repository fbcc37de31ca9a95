"""`process`: a granted program, without a shell, in the session's directory, with limits on time and output."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from capabilities.call import CapabilityCall
from capabilities.capability import Capability
from capabilities.permissions.levels import Resource
from capabilities.permissions.manifest import ProcessTable
from capabilities.standard import process_supervisor

PROGRAM_DIRECTORIES = ("/usr/local/bin", "/usr/bin", "/bin")
ARGUMENTS_MAX = 1_000

type Argument = Annotated[str, Field(max_length=100_000, pattern=r"^[^\x00]*$")]


def find_program(name: str) -> str:
    """The program's file: looked up in the system's directories, never in the session's own. FileNotFoundError."""
    if name.startswith("/"):
        found = [Path(name)]
    else:
        found = [Path(directory) / name for directory in PROGRAM_DIRECTORIES] if "/" not in name else []
    for path in found:
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    raise FileNotFoundError(f"there is no program {name!r} in {', '.join(PROGRAM_DIRECTORIES)}")


class Process(Capability):
    """Run granted programs. What they may do is what the engine's user may: grant few."""

    name = "process"

    def touches(self, call: CapabilityCall) -> tuple[Resource, ...]:
        return (Resource("process", "run", call.arguments["program"]),)

    async def call(
        self,
        call: CapabilityCall,
        program: str,
        args: Annotated[list[Argument], Field(max_length=ARGUMENTS_MAX)] | None = None,
        *,
        input: str = "",
        timeout: Annotated[float, Field(gt=0)] | None = None,
    ) -> dict[str, Any]:
        """Run a program without a shell: a dict of `exit_code`, `stdout`, `stderr` and `truncated`.

        Its directory is the session's, its environment is empty but for PATH, HOME and LANG. What it started ends with
        it; it is killed when it takes longer than granted (TimeoutError), or when it prints more (`truncated`).
        """
        limits = call.policy.manifest.process
        seconds = min(timeout or limits.seconds_max, limits.seconds_max)
        path = find_program(program)
        call.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        environment = {"PATH": ":".join(PROGRAM_DIRECTORIES), "HOME": str(call.directory), "LANG": "C.UTF-8"}
        environment |= {"DURABLE_CALL_ID": call.key} if call.key else {}
        try:
            return await _run([path, *(args or [])], call.directory, environment, input.encode(), seconds, limits)
        except TimeoutError:
            raise TimeoutError(f"{program} ran longer than {seconds:g} s and was ended") from None


async def _run(
    command: list[str], directory: Path, environment: dict[str, str], given: bytes, seconds: float, limits: ProcessTable
) -> dict[str, Any]:
    """Run it under its supervisor, which has ended all that was started when this returns or raises."""
    report, told = os.pipe()
    try:
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", process_supervisor.__file__, str(os.getpid()), str(told)),
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=directory,
                env=environment,
                pass_fds=(told,),
                start_new_session=True,
            )
        )
        try:
            async with asyncio.timeout(seconds):
                found = await _talk(await asyncio.shield(starting), given, limits.output_bytes_max)
        finally:
            process = await starting  # one that is cancelled as it starts would be killed, and not what it runs
            _end(process)
            await process.wait()
        return {"exit_code": _exit_code(report, command[0]), **found}
    finally:
        os.close(report)
        os.close(told)


def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()


def _exit_code(report: int, path: str) -> int:
    """The program's exit code, as its supervisor, which has ended, said. OSError."""
    os.set_blocking(report, False)
    try:
        what, number = os.read(report, 100).split()
    except BlockingIOError:
        raise ChildProcessError(f"{path}: its supervisor was killed; what it had started may still run") from None
    if what == b"failed":
        raise OSError(int(number), os.strerror(int(number)), path)
    return int(number)


async def _talk(process: asyncio.subprocess.Process, given: bytes, limit: int) -> dict[str, Any]:
    left = [limit]
    over = asyncio.Event()

    async def read(stream: asyncio.StreamReader) -> bytes:
        parts = []
        while chunk := await stream.read(2**16):
            parts.append(chunk[: max(0, left[0])])
            left[0] -= len(chunk)
            if left[0] < 0:
                over.set()
                _end(process)
        return b"".join(parts)

    async def feed(stream: asyncio.StreamWriter) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            stream.write(given)
            await stream.drain()
        stream.close()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await stream.wait_closed()

    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.TaskGroup() as group:
        group.create_task(feed(process.stdin))
        out, err = group.create_task(read(process.stdout)), group.create_task(read(process.stderr))
    await process.wait()
    return {
        "stdout": out.result().decode("utf-8", "replace"),
        "stderr": err.result().decode("utf-8", "replace"),
        "truncated": over.is_set(),
    }
