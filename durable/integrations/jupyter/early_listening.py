"""Listening on the ports of a kernel before ZeroMQ is imported (specs/jupyter.md, Start).

A client that is refused tries again a tenth of a second later, or two: one that is let in waits no longer than it must.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

PORTS = ("shell_port", "control_port", "stdin_port", "iopub_port", "hb_port")

CLIENTS_MAX = 100
"""Clients that wait until ZeroMQ takes over, as many as with its own sockets."""


def listen_early(connection: Mapping[str, object]) -> dict[str, int]:
    """Descriptors that listen, by the names of their ports; fewer, or none, where ZeroMQ has to do it itself."""
    found: dict[str, int] = {}
    ip = connection.get("ip")
    if connection.get("transport", "tcp") != "tcp" or not isinstance(ip, str):
        return found
    for name in PORTS:
        port = connection.get(name)
        if not isinstance(port, int) or port == 0:
            continue
        try:
            socket.inet_pton(socket.AF_INET, ip)
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        except OSError:
            break  # a name or another family
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((ip, port))
            listener.listen(CLIENTS_MAX)
            listener.setblocking(False)
        except OSError:  # ZeroMQ says what is wrong
            listener.close()
            continue
        found[name] = listener.detach()
    return found
