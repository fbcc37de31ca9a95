"""Decisions: a manifest, what was granted beside it and what was changed since, compiled into one answer per ask.

Invariants (specs/permission.md):
A1  Nothing is allowed that no rule allows; an empty list denies everything.
A2  Precedence: blocked, development, level unrestricted, the level, grants, then whatever `trust` says of the rest.
    What is the engine's own comes before all of them: nothing gives it.
A3  A decision depends on the ask, the policy and the time only: no I/O, the same in every process.
A4  A cached decision never outlives the policy, nor a grant that ends.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from capabilities.permissions.globs import matches
from capabilities.permissions.grants import (
    Grant,
    endpoint_matches,
    granted_resource,
    level_of,
    name_matches,
    read_grant,
    read_grants,
)
from capabilities.permissions.levels import LEVELS, QUESTIONS, READ_METHODS, Level, Resource
from durable.core.clock import TIME_MAX_MS

if TYPE_CHECKING:
    from capabilities.permissions.manifest import Manifest

CACHE_MAX = 1_000
"""Decisions that are remembered (A72)."""

_BLOCKED = "blocked by the manifest, or was revoked"

_ENGINES_OWN = "DURABLE_"
"""The beginning of variables of the engine's own: its token, the secret of its webhooks, where its store is."""

type Verdict = Literal["allowed", "denied", "ask"]

_ORDER: tuple[Level, ...] = ("sandbox", "restricted", "standard", "trusted", "unrestricted")


class PolicyDecision(NamedTuple):
    """A decision about one ask, and why. `resource` is the one that decided, None for the capability itself."""

    verdict: Verdict
    reason: str
    resource: Resource | None = None
    blocked: bool = False
    """Whether no grant changes it."""


class PolicyChange(NamedTuple):
    """Changes made while sessions live: the documents of `policy.get`, as they are stored."""

    version: int = 0
    own: dict[str, Any] = {}  # noqa: RUF012  # never changed
    everywhere: dict[str, Any] = {}  # noqa: RUF012


NO_CHANGE = PolicyChange()


class Policy:
    """The permissions of one session or component now. Made anew when anything changes; decisions are cached in it."""

    def __init__(self, manifest: Manifest, grants: Iterable[str] = (), change: PolicyChange = NO_CHANGE) -> None:
        replaced = change.own.get("manifest")
        self.manifest = manifest if replaced is None else _read(replaced)
        self.version = change.version
        self._fixed = (*map(read_grant, grants), *map(read_grant, self.manifest.grant))
        self._live = (*read_grants(change.own.get("grants")), *read_grants(change.everywhere.get("grants")))
        revoked = (*read_grants(change.own.get("revoked")), *read_grants(change.everywhere.get("revoked")))
        self._blocked = (*map(read_grant, self.manifest.block), *revoked)
        self._valid_until = 0
        self._grants: tuple[Grant, ...] = ()
        self._level: Level = "sandbox"
        self._names: frozenset[str] = frozenset()
        self._permitted: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._cache: OrderedDict[tuple[str, tuple[Resource, ...]], PolicyDecision] = OrderedDict()

    # -- what holds at a time -----------------------------------------------------------------------------------

    def _at(self, now_ms: int) -> None:
        """Drop what has ended; the cache with it (A4)."""
        if now_ms < self._valid_until:
            return
        self._cache.clear()
        self._permitted.clear()
        live = [grant for grant in self._live if grant.holds(now_ms)]
        self._valid_until = min((g.until_ms for g in live if g.until_ms is not None), default=TIME_MAX_MS)
        self._grants = (*self._fixed, *live)
        levels = [self.manifest.level, *(level_of(grant) for grant in self._grants if grant.name == "level")]
        self._level = max(levels, key=_ORDER.index)
        names = {grant.name for grant in self._grants if grant.name != "level"}
        if "input" in names:
            names |= QUESTIONS
        self._names = frozenset(names | LEVELS[self._level])

    def level(self, now_ms: int) -> Level:
        """The level that holds now, elevations included."""
        self._at(now_ms)
        return self._level

    def reaches(self, level: Level, now_ms: int) -> bool:
        """Whether the level that holds now is this one or one above."""
        return _ORDER.index(level) <= _ORDER.index(self.level(now_ms))

    def may_have(self, name: str, now_ms: int) -> bool:
        """Whether a capability becomes a function of the code: it is granted, or may be asked for."""
        self._at(now_ms)
        return self._named(name).verdict != "denied"

    def permitted(self, names: tuple[str, ...], now_ms: int) -> tuple[str, ...]:
        """The capabilities among these that become functions of the code. Cached for the last names asked for."""
        self._at(now_ms)
        found = self._permitted.get(names)
        if found is None:
            found = tuple(name for name in names if self._named(name).verdict != "denied")
            self._permitted = {names: found}
        return found

    def methods(self, now_ms: int) -> tuple[str, ...] | None:
        """HTTP methods that are allowed; None is all."""
        self._at(now_ms)
        if self.manifest.trust == "development":
            return None
        if self.manifest.network.methods is not None:
            return self.manifest.network.methods
        return READ_METHODS if _ORDER.index(self._level) <= _ORDER.index("standard") else None

    @property
    def development(self) -> bool:
        """Whether nothing is checked."""
        return self.manifest.trust == "development"

    # -- deciding -----------------------------------------------------------------------------------------------

    def decide(self, name: str, resources: tuple[Resource, ...], now_ms: int) -> PolicyDecision:
        """Whether a call of this capability that touches these may be performed."""
        self._at(now_ms)
        key = (name, resources)
        found = self._cache.get(key)
        if found is not None:
            self._cache.move_to_end(key)
            return found
        found = self._decide(name, resources)
        self._cache[key] = found
        if len(self._cache) > CACHE_MAX:
            self._cache.popitem(last=False)
        return found

    def _decide(self, name: str, resources: tuple[Resource, ...]) -> PolicyDecision:
        named = self._named(name)
        if named.verdict == "denied":
            return named
        for resource in resources:
            if resource.domain == "environment" and resource.name.startswith(_ENGINES_OWN):
                return PolicyDecision("denied", f"{resource.name} is the engine's own", resource, blocked=True)
            if any(_same(block, name) and _covers(block, resource) for block in self._blocked):
                return PolicyDecision("denied", f"{name} of {resource.name!r} is {_BLOCKED}", resource, blocked=True)
        if named.verdict != "allowed" or self.development:
            return named._replace(resource=resources[0]) if resources and named.verdict == "ask" else named
        reason = named.reason
        for resource in resources:
            because = self._because(name, resource)
            if because is None:
                return self._unresolved(f"no rule allows to {resource.shown()}", resource)
            reason = because
        return PolicyDecision("allowed", reason, resources[-1] if resources else None)

    def _named(self, name: str) -> PolicyDecision:
        """The decision about the capability, whatever it is to touch."""
        # A grant of `input` is one of all forms of a question, and so is taking it away.
        names = (name, "*", "input") if name in QUESTIONS else (name, "*")
        if any(block.name in names and not block.resource for block in self._blocked):
            return PolicyDecision("denied", f"{name} is {_BLOCKED}", blocked=True)
        if self.development:
            return PolicyDecision("allowed", "development mode: nothing is checked")
        if "*" in self._names:
            return PolicyDecision("allowed", f"level {self._level}" if self._level == "unrestricted" else "granted")
        if name in self._names:
            return PolicyDecision("allowed", f"level {self._level}" if name in LEVELS[self._level] else "granted")
        return self._unresolved(f"{name} is not granted", None)

    def _unresolved(self, why: str, resource: Resource | None) -> PolicyDecision:
        match self.manifest.trust:
            case "unknown":
                return PolicyDecision("ask", why, resource)
            case "trusted":
                return PolicyDecision("allowed", f"trusted, though {why}", resource)
            case _:
                return PolicyDecision("denied", why, resource)

    def _because(self, name: str, resource: Resource) -> str | None:
        """Which rule allows this resource; None when none does."""
        if any(_same(grant, name) and granted_resource(grant._replace(name=name), resource) for grant in self._grants):
            return "granted"
        if self._level == "unrestricted":
            return "level unrestricted"
        return "the manifest" if self._in_manifest(resource) else None

    def _in_manifest(self, resource: Resource) -> bool:
        manifest = self.manifest
        match resource.domain:
            case "filesystem":
                if manifest.filesystem is None:  # its own directory, which nobody else has
                    return True
                allowed: tuple[str, ...] = getattr(manifest.filesystem, resource.action, ())
                return any(matches(glob, resource.name) for glob in allowed)
            case "network":
                return any(endpoint_matches(each, resource.name) for each in manifest.network.outbound)
            case "storage":
                shared = manifest.storage.namespaces if manifest.storage is not None else ()
                return resource.name == "" or resource.name in shared
            case "environment":
                return any(name_matches(each, resource.name) for each in manifest.environment.read)
            case "process":
                return resource.name in manifest.process.programs
            case "database":
                return resource.name in manifest.query.databases
            case "function":
                return any(name_matches(each, resource.name) for each in manifest.functions.start)
            case "actor":
                return any(name_matches(each, resource.name) for each in manifest.messaging.send)
            case "topic":
                from capabilities.actors.topics import covers  # most sessions have no actors

                rules = manifest.messaging.publish if resource.action == "publish" else manifest.messaging.subscribe
                return any(covers(each, resource.name) for each in rules)
            case "session" | "message":
                return True


def _read(document: Any) -> Manifest:
    from capabilities.permissions.manifest import read_manifest  # pydantic, which a session without one does without

    return read_manifest(document)


def _same(grant: Grant, name: str) -> bool:
    return grant.name == name


def _covers(block: Grant, resource: Resource) -> bool:
    return bool(block.resource) and granted_resource(block, resource)
