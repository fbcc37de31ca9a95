"""sys.stdout, sys.stderr and sys.stdin as user code sees them."""

from __future__ import annotations

import codecs
import io
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from bridge.worker.io.output_streams import OutputPort
from durable.core.limits import OUTPUT_CHUNK_BYTES_MAX

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Bytes(io.RawIOBase):
    """`sys.stdout.buffer`: bytes written as text of the same stream."""

    def __init__(self, owner: OutputStream) -> None:
        super().__init__()
        self._owner = owner
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        view = memoryview(data)
        text = self._decoder.decode(bytes(view))
        if text:
            self._owner.write(text)
        return view.nbytes

    def flush(self) -> None:
        self._owner.flush()

    def close(self) -> None:
        self.flush()


class _Sink(io.RawIOBase):
    """Where an OutputStream's text goes, encoded: each write to the port, or in batches."""

    closed = False  # a constant: it is looked up at each write

    def __init__(self, port: OutputPort, stream: str) -> None:
        super().__init__()
        self._port = port
        self.name = stream
        self.batches: deque[bytes] = deque()
        self._store = self.batches.append
        self.batch(on=False)

    def batch(self, *, on: bool) -> None:
        self._plain = self._batched if on else self._single
        self.write = self._plain  # type: ignore[assignment,method-assign]

    def storing(self, flush: Callable[[], None]) -> None:
        """Flush with C code from end to end: neither a signal handler nor another thread comes in between."""
        self.write = self._store  # type: ignore[assignment,method-assign]
        try:
            flush()
        finally:
            self.write = self._plain  # type: ignore[assignment,method-assign]

    def _single(self, data: bytes) -> None:
        self._port.write(self.name, data)

    def _batched(self, data: bytes) -> None:
        self._store(data)  # first: what was printed before is lost if an exception comes between (Gate.storing)
        self._port.send_batch()

    def writable(self) -> bool:
        return True


class OutputStream(io.TextIOWrapper):
    """`sys.stdout` or `sys.stderr` of the worker. Closing it only flushes.

    `write` is TextIOWrapper's, in C. It hands over what it got when that is `_CHUNK_SIZE` bytes, the one knob of it
    that can be turned while it is in use: 1 for each write, and more for batches.
    """

    closed = False
    storing = _Sink._batched.__code__

    def __init__(self, port: OutputPort, stream: str, fd: int) -> None:
        self._sink = _Sink(port, stream)
        super().__init__(self._sink, encoding="utf-8", errors="replace", newline="\n")
        self._CHUNK_SIZE = 1
        self._port = port
        self._stream = stream
        self._fd = fd
        self._bytes = _Bytes(self)

    def batch(self, *, on: bool) -> None:
        """Hand text over in batches, or at each write."""
        self._CHUNK_SIZE = OUTPUT_CHUNK_BYTES_MAX if on else 1
        self._sink.batch(on=on)

    def take(self) -> list[bytes]:
        """Take what was written and not handed over, in order. One thread at a time, and SIGINT masked."""
        self._sink.storing(super().flush)
        batches = self._sink.batches
        return [batches.popleft() for _ in range(len(batches))]

    @property
    def name(self) -> str:
        return f"<{self._stream}>"

    @property
    def mode(self) -> str:
        return "w"

    @property
    def buffer(self) -> io.RawIOBase:  # type: ignore[override]
        return self._bytes

    @property
    def line_buffering(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return False

    def flush(self) -> None:
        self._port.flush()

    def reconfigure(self, **_options: object) -> None:
        """Accepted as of a TextIOWrapper; the encoding is always UTF-8."""
        self.flush()

    def detach(self) -> io.RawIOBase:  # type: ignore[override]
        raise io.UnsupportedOperation("detach")

    def close(self) -> None:
        self.flush()


class InputStream(io.TextIOBase):
    """`sys.stdin`: each line is a question to the host. Closing it does nothing (`exit()` does that)."""

    encoding = "utf-8"
    errors = "strict"
    name = "<stdin>"

    def __init__(self, ask: Callable[[], str]) -> None:
        super().__init__()
        self._ask = ask
        self._rest = ""
        """The end of an answer of which code read a part."""

    def fileno(self) -> int:
        return 0

    def readable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]
        if size == 0:
            return ""
        if not self._rest:
            try:
                self._rest = self._ask() + "\n"
            except EOFError:
                return ""
        end = self._rest.find("\n") + 1 or len(self._rest)
        end = end if size is None or size < 0 else min(end, size)
        line, self._rest = self._rest[:end], self._rest[end:]
        return line

    def read(self, size: int | None = -1, /) -> str:
        """All answers until there is none; with a size, no more of them than it takes."""
        if size is None or size < 0:
            return "".join(iter(self.readline, ""))
        text = ""
        while len(text) < size and (line := self.readline(size - len(text))):
            text += line
        return text

    def close(self) -> None:
        pass


def install(port: OutputPort, ask: Callable[[], str]) -> None:
    """Replace the process's three streams."""
    with suppress(AttributeError):
        sys.stdout.flush()
    sys.stdout = sys.__stdout__ = stdout = OutputStream(port, "stdout", 1)  # type: ignore[misc]
    port.attach(stdout)
    sys.stderr = sys.__stderr__ = OutputStream(port, "stderr", 2)  # type: ignore[misc]
    sys.stdin = sys.__stdin__ = InputStream(ask)  # type: ignore[assignment,misc]
