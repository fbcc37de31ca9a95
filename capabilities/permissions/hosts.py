"""Hosts and addresses: patterns on a dot boundary (D7), and which addresses are private."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*\Z")

type Address = ipaddress.IPv4Address | ipaddress.IPv6Address
type Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")


def normal_host(host: str) -> str:
    """A host as it is compared: lower case, ASCII (IDNA), no trailing dot, no brackets. ValueError for none."""
    found = host.strip().lower().removesuffix(".").removeprefix("[").removesuffix("]")
    if not found:
        raise ValueError("an empty host")
    try:
        return str(ipaddress.ip_address(found))
    except ValueError:
        pass
    if not found.isascii():
        from yarl import URL  # whoever connects makes it ASCII so: ß is no ss there

        found = URL.build(scheme="http", host=found).raw_host or ""
    return found


def is_plain(host: str) -> bool:
    """Whether a URL's host (ASCII) is a name, or an address as it is usually written.

    The rest (2130706433, 127.1, 0x7f.1, fe80::1%eth0) is one thing to who checks and another to who connects.
    """
    try:
        return ipaddress.ip_address(host) is not None and "%" not in host
    except ValueError:
        name = host.lower().removesuffix(".")
    if not _HOST.match(name) or name.startswith("*") or len(name) > 253:
        return False
    return not _NUMBER.fullmatch(name.rpartition(".")[2])


def check_host(pattern: str) -> str:
    """Return a host pattern: a name, an address, `*.domain`, or `*` for any. ValueError says what is wrong."""
    if pattern == "*":
        return pattern
    try:
        found = normal_host(pattern)
    except UnicodeError:
        raise ValueError(f"{pattern!r} is no host name") from None
    try:
        ipaddress.ip_address(found)
    except ValueError:
        if not _HOST.match(found) or len(found) > 255:
            raise ValueError(f"{pattern!r} is no host: a name, an address, '*.domain', or '*'") from None
    return found


def host_matches(pattern: str, host: str) -> bool:
    """Whether a normal host fits a checked pattern. `*.example.com` is its subdomains and nothing else."""
    if pattern == "*":
        return True
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1 and not host.startswith(".")
    return pattern == host


@lru_cache(maxsize=1024)
def is_private(address: str) -> bool:
    """Whether an address is anything but a public one, whatever it is wrapped in."""
    found = ipaddress.ip_address(address.partition("%")[0])
    return not all(map(_is_public, _inside(found)))


def _is_public(address: Address) -> bool:
    if address.is_multicast or address.is_reserved or not address.is_global:
        return False
    return isinstance(address, ipaddress.IPv4Address) or not address.is_site_local


def _inside(address: Address) -> list[Address]:
    """The address, or the IPv4 ones that an IPv6 one stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    if address.sixtofour is not None:
        return [address, address.sixtofour]
    if address.teredo is not None:
        return [address, *address.teredo]
    return [address]


def address_allowed(address: str, private: tuple[str, ...]) -> bool:
    """A public address, or a private one inside a granted network."""
    if not is_private(address):
        return True
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in network for network in _networks(private))


@lru_cache(maxsize=128)
def _networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


def check_network(text: str) -> str:
    """Return a network such as `10.0.0.0/8`; ValueError."""
    return str(ipaddress.ip_network(text))
