"""A real process with a real `__main__` namespace, to capture in one and restore in another. Not a test itself."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from msgspec import structs

from checkpoint.format.group_table import read_table
from checkpoint.format.payload import chunk_digest, decode_payload, encode_payload

ROOT = Path(__file__).parents[2]
INTERNALS = frozenset({"_", "In", "Out", "_oh"})


class Process:
    """A child that runs code, captures and restores. Use it as a context manager."""

    def __init__(self, *, cwd: Path | None = None) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-W", "error", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=cwd,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        )

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._child.kill()
        self._child.communicate()

    def _ask(self, *command: object) -> Any:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        _write(self._child.stdin, command)
        outcome, value = _read(self._child.stdout)
        if outcome == "error":
            raise AssertionError(value)
        return value

    def run(self, code: str) -> None:
        """Execute statements in the namespace."""
        self._ask("run", code)

    def value(self, expression: str) -> Any:
        """Evaluate an expression whose value is plain data."""
        return self._ask("value", expression)

    def capture(self, execution: str = "s@1") -> tuple[bytes, bool, dict[str, tuple[str, str, str]], dict[str, str]]:
        """(payload, changed, lost: name -> type, reason, execution, rebuilt: name -> how)."""
        captured: tuple[bytes, bool, dict[str, tuple[str, str, str]], dict[str, str]] = self._ask("capture", execution)
        return captured

    def aside(self, during: str = "", *, stored: bool = True) -> tuple[str, bytes]:
        """(where it was captured: "here" or "aside", what arrived); `during` runs in between, in the parent."""
        captured: tuple[str, bytes] = self._ask("aside", during, stored)
        return captured

    def whole(self) -> bytes:
        """A payload with everything in it."""
        self._ask("forget")
        return self.capture()[0]

    def restore(self, payload: bytes, **options: Any) -> dict[str, list[Any]]:
        """Restore and prime; the report."""
        report: dict[str, list[Any]] = self._ask("restore", to_worker(payload), options)
        return report

    def restore_payload(self, payload: bytes) -> dict[str, list[Any]]:
        """Restore what is in the form that goes to a worker already; the report."""
        report: dict[str, list[Any]] = self._ask("restore", payload, {})
        return report

    def explain(self, name: str) -> str | None:
        """What the worker would add to a NameError."""
        sentence: str | None = self._ask("explain", name)
        return sentence


def to_worker(payload: bytes) -> bytes:
    """What the engine makes of a worker's whole payload: the chunks in the order of the table."""
    parsed = decode_payload(payload)
    chunks = {chunk_digest(chunk): chunk for chunk in parsed.chunks}
    table = read_table(parsed.contents, chunks.__getitem__)
    return encode_payload(structs.replace(parsed, chunks=tuple(chunks[digest] for digest in table.digests)))


def _write(stream: IO[bytes], value: object) -> None:
    data = pickle.dumps(value)
    stream.write(len(data).to_bytes(8, "big") + data)
    stream.flush()


def _read(stream: IO[bytes]) -> Any:
    size = int.from_bytes(stream.read(8), "big")
    if not size:
        raise AssertionError("the child ended")
    return pickle.loads(stream.read(size))


def _drained(reader: int) -> bytes:
    """What came through the pipe, as one payload; nothing when it was cut."""
    from checkpoint.format.payload import Payload, decode_payload, encode_payload

    with os.fdopen(os.dup(reader), "rb") as stream:
        blocks = []
        while size := int.from_bytes(stream.read(4), "big"):
            blocks.append(memoryview(stream.read(size)))
        size = int.from_bytes(stream.read(8), "big")
        data = stream.read(size)
        if not size or len(data) != size:
            return b""
    rest = decode_payload(data)
    return encode_payload(Payload(format=rest.format, contents=rest.contents, chunks=(*blocks, *rest.chunks)))


def _serve() -> None:
    import types

    from checkpoint.capture.forked_capture import Aside
    from checkpoint.capture.incremental_capture import Capturer
    from checkpoint.restore import explain_name_error, restore_into

    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    main = types.ModuleType("__main__")
    main.__dict__.update({"_": None, "In": [], "Out": {}})
    main.__dict__["_oh"] = main.__dict__["Out"]
    sys.modules["__main__"] = main
    namespace = main.__dict__
    capturer = Capturer(namespace, INTERNALS)

    def answer(kind: str, *arguments: Any) -> object:
        if kind == "run":
            exec(compile(arguments[0], "<cell>", "exec", dont_inherit=True), namespace)
            return None
        if kind == "value":
            return eval(arguments[0], namespace)
        if kind == "capture":
            capture = capturer.capture(arguments[0])
            lost = {entry.name: (entry.kind, entry.reason, entry.execution) for entry in capture.lost}
            return capture.payload, capture.changed, lost, {entry.name: entry.how for entry in capture.rebuilt}
        if kind == "aside":
            made = capturer.capture_aside("s@1")
            exec(arguments[0], namespace)
            if not isinstance(made, Aside):
                return "here", made.payload
            data = _drained(made.reader)
            capturer.settle(made, stored=arguments[1] and bool(data))
            return "aside", data
        if kind == "forget":
            capturer.forget()
            return None
        if kind == "restore":
            report = restore_into(namespace, arguments[0], internals=INTERNALS, **arguments[1])
            capturer.prime(arguments[0])
            return report
        return explain_name_error(arguments[0])

    while True:
        try:
            command = _read(stdin)
        except AssertionError:
            return
        try:
            reply = "value", answer(*command)
        except BaseException as error:
            reply = "error", f"{type(error).__name__}: {error}"
        _write(stdout, reply)


if __name__ == "__main__":
    _serve()
