"""sys.stdout, sys.stderr and sys.stdin as user code sees them."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from bridge.worker.streams import OutputPort

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


class OutputStream(io.TextIOBase):
    """`sys.stdout` or `sys.stderr` of the worker. Closing it only flushes."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, port: OutputPort, stream: str, fd: int) -> None:
        super().__init__()
        self._port = port
        self._write = port.write
        self._stream = stream
        self._fd = fd
        self._bytes = _Bytes(self)

    @property
    def name(self) -> str:
        return f"<{self._stream}>"

    @property
    def mode(self) -> str:
        return "w"

    @property
    def buffer(self) -> io.RawIOBase:
        return self._bytes

    @property
    def line_buffering(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if text:
            self._write(self._stream, text)
        return len(text)

    def flush(self) -> None:
        self._port.flush()

    def reconfigure(self, **_options: object) -> None:
        """Accepted as of a TextIOWrapper; the encoding is always UTF-8."""
        self.flush()

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

    def fileno(self) -> int:
        return 0

    def readable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def readline(self, _size: int | None = -1, /) -> str:  # type: ignore[override]
        try:
            return self._ask() + "\n"
        except EOFError:
            return ""

    def read(self, _size: int | None = -1, /) -> str:
        return "".join(iter(self.readline, ""))

    def close(self) -> None:
        pass


def install(port: OutputPort, ask: Callable[[], str]) -> None:
    """Replace the process's three streams."""
    with suppress(AttributeError):
        sys.stdout.flush()
    sys.stdout = sys.__stdout__ = OutputStream(port, "stdout", 1)  # type: ignore[assignment,misc]
    sys.stderr = sys.__stderr__ = OutputStream(port, "stderr", 2)  # type: ignore[assignment,misc]
    sys.stdin = sys.__stdin__ = InputStream(ask)  # type: ignore[assignment,misc]
