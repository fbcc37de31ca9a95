"""A socket before a PostgreSQL server that can end a connection at a chosen moment of a commit.

It reads what clients send, message by message, and knows a COMMIT whether it comes as text or as a prepared statement.
"""

from __future__ import annotations

import socket
import struct
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal
from urllib.parse import quote

type Moment = Literal["before", "after"]
_NAME = ".s.PGSQL.5432"


class Proxy:
    """Forwards connections to the socket in a server's directory, until a commit is to be cut.

    `cut_next("before", b"INSERT INTO cells")` ends the connection of the next transaction that has such a statement
    instead of forwarding its COMMIT; `"after"` forwards it, waits until the server has answered, and then ends the
    connection without the answer.
    """

    def __init__(self, server: Path) -> None:
        self._server = str(server / _NAME)
        self.directory = Path(tempfile.mkdtemp(prefix="durable-proxy-", dir="/tmp"))
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.directory / _NAME))
        self._listening.listen(50)
        self._threads = [threading.Thread(target=self._accept)]
        self._connections: list[_Connection] = []
        self._refused = False
        self._cut: Moment | None = None
        self._statement = b""
        self._at_cut: Callable[[], None] = lambda: None
        self.cuts = 0
        self._threads[0].start()

    def url(self, schema: str) -> str:
        return f"postgresql:///postgres?host={quote(str(self.directory), safe='')}&user=postgres&schema={schema}"

    def cut_next(self, moment: Moment, statement: bytes, at_cut: Callable[[], None] = lambda: None) -> None:
        """`at_cut` is called at that moment, before the connection ends."""
        self._at_cut, self._statement, self._cut = at_cut, statement, moment

    def refuse(self, refused: bool) -> None:
        """Whether connections are ended at once: those that are there now, and new ones."""
        self._refused = refused
        for connection in list(self._connections) if refused else ():
            connection.end()

    def close(self) -> None:
        """For when its clients are closed."""
        self._listening.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listening.close()
        (self.directory / _NAME).unlink()
        self.directory.rmdir()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.socket(socket.AF_UNIX)
                if self._refused:
                    client.close()
                    server.close()
                    continue
                try:
                    server.connect(self._server)
                except OSError:
                    client.close()
                    server.close()
                    continue
                self._connections.append(_Connection(self, client, server))
                thread = threading.Thread(target=self._connections[-1].run)
                self._threads.append(thread)
                thread.start()

    def moment_of(self, connection: _Connection) -> Moment | None:
        """Whether this connection's COMMIT is the one to be cut, and when."""
        if self._cut is None or not any(self._statement in each for each in connection.transaction):
            return None
        moment, self._cut = self._cut, None
        self.cuts += 1
        connection.at_cut = self._at_cut
        return moment


class _Connection:
    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._statements: dict[bytes, bytes] = {}
        self._swallows = False
        self.transaction: list[bytes] = []
        """The statements since the last BEGIN."""
        self.at_cut: Callable[[], None] = lambda: None

    def end(self) -> None:
        for each in (self._client, self._server):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """Until either side ends."""
        answering = threading.Thread(target=self.answer)
        answering.start()
        self.forward()
        answering.join()
        self._client.close()
        self._server.close()

    def forward(self) -> None:
        """From the client to the server, message by message."""
        try:
            self._server.sendall(self._startup())
            while True:
                kind = self._exactly(1)
                (length,) = struct.unpack("!I", head := self._exactly(4))
                body = self._exactly(length - 4)
                moment = self._proxy.moment_of(self) if self._commits(kind, body) else None
                if moment == "before":
                    self.at_cut()
                    return
                self._swallows = self._swallows or moment == "after"
                self._server.sendall(kind + head + body)
        except OSError:
            pass
        finally:
            self.end()

    def answer(self) -> None:
        """From the server to the client; after a COMMIT that is to be cut, nothing more but its end."""
        heard = b""
        with suppress(OSError):
            while data := self._server.recv(2**16):
                if not self._swallows:
                    self._client.sendall(data)
                    continue
                heard += data
                if b"COMMIT\0" in heard:
                    self.at_cut()
                    break
        self.end()

    def _startup(self) -> bytes:
        head = self._exactly(4)
        return head + self._exactly(struct.unpack("!I", head)[0] - 4)

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            more = self._client.recv(count - len(found))
            if not more:
                raise ConnectionResetError
            found += more
        return found

    def _commits(self, kind: bytes, body: bytes) -> bool:
        if kind == b"P":
            name, query, _ = body.split(b"\0", 2)
            self._statements[name] = query
        if kind not in (b"B", b"Q"):
            return False
        query = body[:-1] if kind == b"Q" else self._statements.get(body.split(b"\0", 2)[1], b"")
        self.transaction = [] if query == b"BEGIN" else [*self.transaction, query]
        return query == b"COMMIT"
