"""Reaching hosts: the address that was checked is the one that is connected to, whatever DNS says next."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import aiohttp
from yarl import URL

from capabilities.permissions.hosts import address_allowed, is_plain, normal_host
from capabilities.permissions.levels import Resource
from durable.core.errors import BadArguments, Denied

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver
else:
    AbstractResolver = object  # aiohttp asks for its methods only, and is imported when something is reached

type Lookup = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host, as DNS has them now."""


async def system_lookup(host: str, port: int) -> list[str]:
    """Ask the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


def parse_url(text: str, schemes: tuple[str, ...]) -> URL:
    """An absolute URL of one of the schemes; Denied for any other, `file://` among them."""
    try:
        url = URL(text)
        host, port = url.host, url.port
    except (ValueError, UnicodeError) as error:
        raise BadArguments(f"{text[:200]!r} is no URL: {error}") from None
    if url.scheme not in schemes or not host or port is None:
        raise Denied(f"{text[:200]!r}: only {' and '.join(f'{scheme}://' for scheme in schemes)} can be reached")
    if not is_plain(host if ":" in host else url.raw_host or ""):
        raise Denied(f"{text[:200]!r}: {host[:100]!r} is no host name, nor an address as it is usually written")
    return url


def endpoint_of(url: URL) -> str:
    """`host:port` as rules name it."""
    assert url.raw_host is not None
    return f"{normal_host(url.raw_host)}:{url.port}"


def resource_of(url: URL, action: str) -> Resource:
    """The resource that reaching a URL touches."""
    return Resource("network", action, endpoint_of(url))


class PinnedResolver(AbstractResolver):
    """Resolves once, refuses what is private and not granted, and hands over exactly what it checked."""

    def __init__(self, lookup: Lookup, private: tuple[str, ...], *, unchecked: bool = False) -> None:
        self._lookup = lookup
        self._private = private
        self._unchecked = unchecked

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[aiohttp.abc.ResolveResult]:
        """The addresses to connect to. Denied when none may be reached."""
        addresses = list(dict.fromkeys(await self._lookup(host, port)))
        allowed = [each for each in addresses if self._unchecked or address_allowed(each, self._private)]
        if addresses and not allowed:
            raise _private_only(host, addresses)
        found: list[aiohttp.abc.ResolveResult] = []
        for each in allowed:
            kind = socket.AF_INET6 if ":" in each else socket.AF_INET
            if family in (socket.AF_UNSPEC, kind):
                flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
                entry = {"hostname": host, "host": each, "port": port, "family": kind, "proto": 0, "flags": flags}
                found.append(aiohttp.abc.ResolveResult(**entry))  # type: ignore[typeddict-item]
        if not found:
            raise OSError(f"{host!r} has no address")
        return found

    async def close(self) -> None:
        """Nothing is held."""

    def check_literal(self, host: str) -> None:
        """An address in the URL itself is not resolved: check it as it stands."""
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return
        if not self._unchecked and not address_allowed(host, self._private):
            raise _private_only(host, [host])


def _private_only(host: str, addresses: list[str]) -> Denied:
    return Denied(
        f"{host!r} is at {', '.join(addresses[:3])}, which is not public; a manifest can grant it: network.private"
    )


async def _no_redirect(_session: Any, _context: Any, parameters: aiohttp.TraceRequestRedirectParams) -> None:
    raise Denied(f"{parameters.url.host!r} redirects, which is not followed here")


def client(resolver: PinnedResolver, seconds: float, *, redirects: bool = True) -> aiohttp.ClientSession:
    """A client that knows no proxies, cookies or earlier connections."""
    tracing = aiohttp.TraceConfig()
    if not redirects:
        tracing.on_request_redirect.append(_no_redirect)
    connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=seconds),
        trust_env=False,
        auto_decompress=True,
        trace_configs=[tracing],
    )


def refusal_in(error: BaseException) -> Denied | None:
    """The refusal that a client's error was caused by."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, Denied):
            return found
        found = found.__cause__ or found.__context__
    return None
