"""An HTTP server that answers each path with bytes of the test's choice, endlessly where they are."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress

type Answer = Callable[[], Iterator[bytes]]

OK = b"HTTP/1.1 200 OK\r\n"


def _text(charset: str, body: bytes, more: bytes = b"") -> Answer:
    head = OK + b"Content-Type: text/plain; charset=%s\r\n%sContent-Length: %d\r\n\r\n"
    return lambda: iter([head % (charset.encode(), more, len(body)) + body])


def _endless(head: bytes, part: bytes) -> Answer:
    def parts() -> Iterator[bytes]:
        yield head
        while True:
            yield part

    return parts


def _bomb() -> bytes:
    """256 MB of zeros in gzip's form, without its end: one part that was compressed, again and again."""
    packing = zlib.compressobj(wbits=31)
    first, again = (packing.compress(bytes(2**20)) + packing.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + 255 * again


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

HOSTILE: dict[str, tuple[Answer, str]] = {
    "/bomb": (_text("utf-8", _bomb(), b"Content-Encoding: gzip\r\n"), "RuntimeError: durable.ResourceExceeded"),
    "/endless": (_endless(CHUNKED, b"10000\r\n" + b"x" * 2**16 + b"\r\n"), "RuntimeError: durable.ResourceExceeded"),
    "/heads": (
        lambda: iter([OK + b"".join(b"X-%d: a\r\n" % n for n in range(10**5)) + b"\r\n"]),
        "ConnectionError",
    ),
    "/long": (lambda: iter([OK + b"X: " + b"a" * 10**7 + b"\r\n\r\n"]), "ConnectionError"),
    "/continue": (_endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 999), "TimeoutError"),
    "/slow": (lambda: iter([OK + b"Content-Length: 9\r\n\r\nx"]), "TimeoutError"),
    "/extension": (_endless(CHUNKED, b"1;" + b"a" * 2**16), "TimeoutError"),
    "/nonsense": (lambda: iter([b"\0\xff" * 999]), "ConnectionError"),
    "/punycode": (_text("punycode", b"a-" + b"b9" * 10**6), ""),  # would take hours
    "/idna": (_text("idna", b"a." * 10**5), ""),
    "/undefined": (_text("undefined", b"a"), ""),
    "/latin": (_text("latin-1", b"\xe9", b"X: \xe9\r\n"), ""),
    "/surrogate": (_text("utf-7", b"+2AA-"), ""),
}
"""Of each path the answer, and how the error of whoever fetches it begins; "" when it is no error."""


@asynccontextmanager
async def serving(answers: dict[str, tuple[Answer, str]]) -> AsyncIterator[int]:
    """Serve these; the port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split()[1].decode()
            for part in answers[path][0]():
                writer.write(part)
                await writer.drain()
            if path == "/slow":
                await reader.read()  # until the other side has had enough
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
