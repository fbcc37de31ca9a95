"""The check of `Host` and `Origin`: no page of another site uses a server that only its visitor reaches."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from durable.core.errors import BadArguments

_LOCAL = ("localhost",)


class HostCheck:
    """The names by which a server is reached, and the sites whose pages may call it.

    A name that nobody gave is refused, since whoever owns it may let it lead here (DNS rebinding). Addresses are taken
    as they are: no name has to be looked up for them.
    """

    def __init__(self, hosts: Sequence[str] = (), origins: Sequence[str] = ()) -> None:
        named = (*_LOCAL, socket.gethostname(), *hosts)
        self._hosts = frozenset(host.strip().rstrip(".").lower() for host in named)
        self.origins = frozenset(map(_origin, origins))
        """Other sites whose pages may call this server."""

    def host(self, header: str | None) -> bool:
        """Whether `Host` names this server."""
        if not header:
            return False
        try:
            name = urlsplit(f"//{header}").hostname
        except ValueError:
            return False
        name = (name or "").rstrip(".").lower()
        return header.lower() in self._hosts or name in self._hosts or _is_address(name)

    def origin(self, header: str | None, host: str | None) -> bool:
        """Whether a page of the site in `Origin` may call this server: its own, and those that were named.

        No header is no page of another site: browsers send it with what changes something.
        """
        if header is None:
            return True
        try:
            found = urlsplit(header)
        except ValueError:
            return False
        own = bool(host) and found.scheme in ("http", "https") and found.netloc.lower() == (host or "").lower()
        return own or header.lower() in self.origins


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _origin(text: str) -> str:
    """A site as browsers name it. BadArguments."""
    found = urlsplit(text.strip().rstrip("/").lower())
    if found.scheme not in ("http", "https") or not found.netloc or found.path or found.query:
        raise BadArguments(f"{text!r} is no site; it is given as https://example.org or https://example.org:8443")
    return f"{found.scheme}://{found.netloc}"
