"""A datagram from each process to the others on the same file: "look, I committed something".

Every open store has a unix datagram socket in `<path>.d/peers/`. Nothing is said but that there is something to see;
whoever misses it sees the file's data_version change instead. Sockets are addressed through /proc/self/fd, since their
full path may be too long for a socket address.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import uuid
from pathlib import Path

_LOOK = b"look"
_HELLO = b"hello "
_BYTES_MAX = 256


class Peers:
    """The socket of this process, and the names of the others that it knows."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "peers"
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._name = uuid.uuid4().hex
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(self._address(self._name))
        self._others = {each.name for each in self._directory.iterdir()} - {self._name}
        self._say(_HELLO + self._name.encode())

    def fileno(self) -> int:
        """To be watched for reading."""
        return self._socket.fileno()

    def read(self) -> bool:
        """Take what arrived: True when another process committed something, or is new and may wait for something."""
        look = False
        while True:
            try:
                message = self._socket.recv(_BYTES_MAX)
            except (BlockingIOError, InterruptedError):
                return look
            look = True
            if message.startswith(_HELLO):
                name = message[len(_HELLO) :].decode("ascii", "replace")
                if name.isalnum():
                    self._others = self._others | {name}

    def notify(self) -> bool:
        """Tell the others to look. True when one of them turned out to be gone."""
        return self._say(_LOOK)

    def close(self) -> None:
        """Leave; the socket's file goes too."""
        self._socket.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._name, dir_fd=self._fd)
        os.close(self._fd)

    def _address(self, name: str) -> str:
        return f"/proc/self/fd/{self._fd}/{name}"

    def _say(self, message: bytes) -> bool:
        gone = set()
        for name in self._others:
            try:
                self._socket.sendto(message, self._address(name))
            except BlockingIOError:
                continue  # its buffer is full: it has enough reason to look
            except OSError as error:
                if error.errno not in (errno.ECONNREFUSED, errno.ENOENT):
                    continue
                gone.add(name)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=self._fd)
        self._others = self._others - gone
        return bool(gone)
