"""`fetch`: HTTP for code that has no network. Hosts, methods, addresses, size and time are checked at each hop."""

from __future__ import annotations

import asyncio
import base64
import codecs
import re
from typing import Annotated, Any

import aiohttp
from pydantic import Field
from yarl import URL

from capabilities.call import CapabilityCall
from capabilities.capability import Capability
from capabilities.permissions.levels import Resource
from capabilities.permissions.policy import PolicyDecision
from capabilities.standard.pinned_connection import (
    Lookup,
    PinnedResolver,
    client,
    parse_url,
    refusal_in,
    resource_of,
    system_lookup,
)
from durable.core.errors import BadArguments, ResourceExceeded

REDIRECTS_MAX = 10
SCHEMES = ("http", "https")
HEADERS_MAX = 100
_FORBIDDEN = {
    "host", "connection", "content-length", "transfer-encoding", "upgrade", "proxy-authorization", "te", "expect",
}  # fmt: skip
_METHODS_NEVER = {"CONNECT", "TRACE"}
_OF_ORIGIN = {"authorization", "cookie"}
_TEXT = ("text/", "application/json", "application/xml", "application/javascript", "+json", "+xml")
_CHARSET = re.compile(
    r"ascii|utf-8(-sig)?|utf-(16|32)(-[bl]e)?|iso8859-\d+|cp125\d|cp932|cp949|koi8-[ru]|shift_jis|euc_(jp|kr)|gb\w+|big5"
)
"""Codecs that take time in proportion to the body: the server names one, and punycode would take hours."""

type Headers = Annotated[
    dict[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")], Annotated[str, Field(max_length=8_000)]
    ],
    Field(max_length=HEADERS_MAX),
]
type Verb = Annotated[str, Field(pattern=r"^[A-Za-z]{1,20}$")]


class Fetch(Capability):
    """HTTP requests to granted hosts."""

    name = "fetch"

    def __init__(self, lookup: Lookup = system_lookup) -> None:
        self._lookup = lookup
        super().__init__()

    def touches(self, call: CapabilityCall) -> tuple[Resource, ...]:
        return (resource_of(parse_url(call.arguments["url"], SCHEMES), call.arguments["method"].upper()),)

    async def call(
        self,
        call: CapabilityCall,
        url: str,
        *,
        method: Verb = "GET",
        headers: Headers | None = None,
        data: str | None = None,
        json: Any = None,
        timeout: Annotated[float, Field(gt=0)] | None = None,
    ) -> dict[str, Any]:
        """A dict of `status`, `url`, `headers` and `text` (`base64` where the body is no text).

        timeout in seconds, at most what is granted (30). PermissionError for a host, method or address that is not
        granted, at any redirect; TimeoutError; ConnectionError.
        """
        if method.upper() in _METHODS_NEVER:
            raise BadArguments(f"fetch(): {method.upper()} is no request for a resource")
        network = call.policy.manifest.network
        seconds = min(timeout or network.seconds_max, network.seconds_max)
        sent = _headers(headers)
        if method.upper() not in ("GET", "HEAD", "OPTIONS"):
            sent.setdefault("Idempotency-Key", call.key or "unjournaled")
        resolver = PinnedResolver(self._lookup, network.private, unchecked=call.policy.development)
        try:
            async with asyncio.timeout(seconds), client(resolver, seconds) as session:
                request = _Request(method.upper(), parse_url(url, SCHEMES), sent, data, json)
                return await self._follow(call, session, resolver, request)
        except TimeoutError:
            raise TimeoutError(f"{url[:200]!r} did not answer within {seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            refusal = refusal_in(error)
            if refusal is not None:
                raise refusal from None
            raise ConnectionError(f"{url[:200]!r}: {error}") from None

    async def _follow(
        self, call: CapabilityCall, session: aiohttp.ClientSession, resolver: PinnedResolver, request: _Request
    ) -> dict[str, Any]:
        for hop in range(REDIRECTS_MAX + 1):
            if hop:
                call.check(resource_of(request.url, request.method))
            allowed = call.policy.methods(call.now_ms())
            if allowed is not None and request.method not in allowed:
                where = resource_of(request.url, request.method)
                raise call.refuse(
                    PolicyDecision("denied", f"methods allowed are {', '.join(allowed) or 'none'}", where)
                )
            assert request.url.host is not None
            resolver.check_literal(request.url.host)
            async with session.request(
                request.method,
                request.url,
                headers=request.headers,
                data=request.data,
                json=request.json,
                allow_redirects=False,
            ) as response:
                target = response.headers.get("Location")
                if response.status in (301, 302, 303, 307, 308) and target is not None:
                    request = request.redirected(response.status, target)
                    continue
                return await _answer(call, response)
        raise ConnectionError(f"more than {REDIRECTS_MAX} redirects, the last one to {str(request.url)[:200]!r}")


class _Request:
    """One hop: where to, with what."""

    def __init__(self, method: str, url: URL, headers: dict[str, str], data: str | None, json: Any) -> None:
        self.method, self.url, self.headers, self.data, self.json = method, url, headers, data, json

    def redirected(self, status: int, target: str) -> _Request:
        """The next hop: secrets stay with their origin; what was no GET becomes one where browsers do that."""
        try:
            joined = self.url.join(URL(target))
        except (ValueError, UnicodeError) as error:
            raise ConnectionError(f"a redirect to {target[:200]!r}: {error}") from None
        url = parse_url(str(joined), SCHEMES)
        kept = self.headers
        if url.origin() != self.url.origin():
            kept = {name: value for name, value in kept.items() if name.lower() not in _OF_ORIGIN}
        if status in (307, 308) or self.method in ("GET", "HEAD"):
            return _Request(self.method, url, kept, self.data, self.json)
        return _Request("GET", url, kept, None, None)


def _headers(given: dict[str, str] | None) -> dict[str, str]:
    for name, value in (given or {}).items():
        if name.lower() in _FORBIDDEN or any(char in value for char in "\r\n\0"):
            raise BadArguments(f"fetch(): the header {name!r} cannot be set")
    return dict(given or {})


async def _answer(call: CapabilityCall, response: aiohttp.ClientResponse) -> dict[str, Any]:
    limit = call.policy.manifest.network.bytes_max
    parts, size = [], 0
    async for chunk in response.content.iter_chunked(2**16):
        size += len(chunk)
        if size > limit:
            raise ResourceExceeded.of("network", limit, size, remedy="a manifest can allow more: network.bytes_max")
        await call.pace(len(chunk))
        parts.append(chunk)
    body = b"".join(parts)
    found: dict[str, Any] = {
        "status": response.status,
        "url": str(response.url),
        "headers": {name.lower(): _recordable(value) for name, value in response.headers.items()},
    }
    kind = response.content_type
    if any(part in kind for part in _TEXT) or not body:
        return {**found, "text": body.decode(_charset(response), "replace")}
    return {**found, "base64": base64.b64encode(body).decode()}


def _charset(response: aiohttp.ClientResponse) -> str:
    """The codec that the server names, where it is one of texts."""
    try:
        name = codecs.lookup((response.charset or "utf-8")[:40]).name
    except (LookupError, ValueError):
        return "utf-8"
    return name if _CHARSET.fullmatch(name) else "utf-8"


def _recordable(value: str) -> str:
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
