"""Grants as text: `fetch`, `fetch:*.example.com`, `read_file:data/**`, `level:trusted`, `*`."""

from __future__ import annotations

import re
from fnmatch import translate
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast, get_args

from capabilities.permissions.globs import BadGlob, check_glob, matches
from capabilities.permissions.levels import LEVELS, TOUCHES, Level, Resource
from durable.core.errors import BadArguments, InvalidId
from durable.core.ids import check_capability

if TYPE_CHECKING:  # pydantic, which grants of names do without
    from capabilities.permissions.manifest import Endpoint

HTTP_PORTS = (443, 80)


class Grant(NamedTuple):
    """A capability, or a level, and when it ends (ms since the epoch; None is never). "" is any resource."""

    name: str
    resource: str = ""
    until_ms: int | None = None

    def text(self) -> str:
        return f"{self.name}:{self.resource}" if self.resource else self.name

    def holds(self, now_ms: int) -> bool:
        return self.until_ms is None or now_ms < self.until_ms


def read_grant(text: str, until_ms: int | None = None) -> Grant:
    """A grant from its text; BadArguments says what is wrong with it."""
    name, _, resource = text.partition(":")
    if name == "*" and not resource:
        return Grant("*", "", until_ms)
    if name == "level":
        if resource not in LEVELS:
            raise BadArguments(f"there is no level {resource!r}; the levels are {', '.join(get_args(Level.__value__))}")
        return Grant(name, resource, until_ms)
    try:
        check_capability(name)
        if resource:
            _check(name, resource)
    except (InvalidId, BadGlob, ValueError) as error:
        raise BadArguments(f"{text!r} is no grant: {error}") from None
    return Grant(name, resource, until_ms)


def _check(name: str, resource: str) -> None:
    from capabilities.permissions.hosts import check_host  # most grants name no host

    domain = TOUCHES.get(name, ("", ""))[0]
    if domain == "":
        raise ValueError(f"{name} touches nothing that could be named; grant {name!r}")
    if domain == "filesystem":
        check_glob(resource)
    elif domain == "network":
        check_host(endpoint(resource).host)


@lru_cache(maxsize=1024)
def endpoint(text: str) -> Endpoint:
    """`host`, `host:port` or `host:*`. ValueError."""
    from pydantic import ValidationError

    from capabilities.permissions.manifest import read_endpoint, said

    try:
        return read_endpoint(text)
    except ValidationError as error:
        raise ValueError("; ".join(said(each["msg"]) for each in error.errors())) from None


def granted_resource(grant: Grant, resource: Resource) -> bool:
    """Whether a grant of this capability covers the resource by name."""
    domain, action = TOUCHES.get(grant.name, ("", ""))
    if not grant.resource or domain != resource.domain or action not in ("", resource.action):
        return False
    if domain == "filesystem":
        return matches(grant.resource, resource.name)
    if domain == "network":
        from capabilities.permissions.hosts import check_host, host_matches

        if not _has_port(grant.resource):  # `fetch:example.com` is what a browser would take it for
            host, port = split_endpoint(resource.name)
            return port in HTTP_PORTS and host_matches(check_host(grant.resource), host)
        return endpoint_matches(endpoint(grant.resource), resource.name)
    return name_matches(grant.resource, resource.name)


def _has_port(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and not host.endswith(":") and (port.isdigit() or port == "*")


def split_endpoint(name: str) -> tuple[str, int]:
    """`host:port` as a resource has it."""
    host, _, port = name.rpartition(":")
    return host, int(port)


def endpoint_matches(allowed: Endpoint, name: str) -> bool:
    """Whether `host:port` is what a manifest allows."""
    from capabilities.permissions.hosts import host_matches

    host, port = split_endpoint(name)
    return allowed.port in (None, port) and host_matches(allowed.host, host)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))


def name_matches(pattern: str, name: str) -> bool:
    """`*` and `?` over a whole name; for a durable function also over its bare name."""
    bare = name.rpartition("::")[2].rpartition("@")[0] if "::" in name else name
    compiled = _compiled(pattern)
    return compiled.match(name) is not None or compiled.match(bare) is not None


def read_grants(found: Any) -> tuple[Grant, ...]:
    """Live grants as a policy's document keeps them; what this version cannot read grants nothing."""
    grants = []
    for entry in found if isinstance(found, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("grant"), str):
            until = entry.get("until_ms")
            try:
                grants.append(read_grant(entry["grant"], until if isinstance(until, int) else None))
            except BadArguments:
                continue
    return tuple(grants)


def level_of(grant: Grant) -> Level:
    """The level of a grant `level:…`."""
    assert grant.name == "level"
    return cast(Level, grant.resource)


_SPECIAL = re.compile(r"([*?\[])")


def grant_text(name: str, resource: Resource | None) -> str:
    """The grant that allows exactly this and nothing more."""
    if resource is None or not resource.name or name not in TOUCHES:
        return name
    plain = resource.name if resource.domain == "network" else _SPECIAL.sub(r"[\1]", resource.name)
    return f"{name}:{plain}"
