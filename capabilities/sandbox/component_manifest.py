"""`Component.toml`: what a component is called, its limits, and what it may ask for (A17, A18, A71).

Limits have no defaults here: a component that says nothing of its memory or CPU is refused, and each fault is its own
error. What it may ask for is a session's manifest (specs/permission.md); a table of it grants what it is about.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from typing import Any

from capabilities.permissions.manifest import Manifest, MessagingTable, read_manifest
from capabilities.permissions.policy import Policy
from capabilities.sandbox.errors import InvalidConfiguration, MissingCpuConfig, MissingMemoryConfig
from capabilities.sandbox.limits import KIB, MIB, SandboxLimits
from capabilities.sandbox.quotas import Quotas
from durable.core.errors import BadArguments, InvalidId
from durable.core.ids import check_given_id

MEMORY_BYTES = (512 * KIB, 4 * MIB)
FUEL = (1_000, 100_000_000)
TIMEOUT_S = (1, 300)
"""The least and the most that a manifest may ask for (A18)."""
CPU_MS_PER_S = (1, 64_000)
MEMORY_QUOTA_MAX = 16 * 1024 * MIB
"""Bytes of all executions together (A74)."""

_TABLES = {"component", "resources", "permissions"}


@dataclass(frozen=True, slots=True)
class ComponentManifest:
    """One component: its id, the limits of each call of it, and its permissions. `version` is for people."""

    id: str
    limits: SandboxLimits
    permissions: Manifest
    version: str = ""
    quotas: Quotas = field(default_factory=Quotas)

    def policy(self) -> Policy:
        """The policy of the component. An empty manifest allows nothing."""
        return Policy(self.permissions, _granted(self.permissions))


def parse_component(text: str, where: str = "Component.toml") -> ComponentManifest:
    """A manifest from TOML. MissingMemoryConfig, MissingCpuConfig, InvalidConfiguration."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfiguration(f"{where} is not TOML: {error}") from None
    return read_component(found, where)


def read_component(found: dict[str, Any], where: str = "Component.toml") -> ComponentManifest:
    """A manifest from JSON-like data; the errors of `parse_component`."""
    _known(found, _TABLES, where, "")
    about = _table(found, "component", where)
    _known(about, {"id", "version"}, where, "component.")
    if "id" not in about:
        raise InvalidConfiguration(f"{where} has no component.id; it names the component in every decision about it")
    try:
        name = check_given_id(str(about["id"]))
    except InvalidId as error:
        raise InvalidConfiguration(f"{where}: component.id: {error}") from None
    resources = _table(found, "resources", where)
    limits = _limits(resources, where)
    quotas = _quotas(resources, limits, where)
    try:
        permissions = read_manifest(found.get("permissions", {}), where)
    except BadArguments as error:
        raise InvalidConfiguration(str(error)) from None
    return ComponentManifest(name, limits, permissions, str(about.get("version", "")), quotas)


def _limits(found: dict[str, Any], where: str) -> SandboxLimits:
    _known(found, {"memory", "cpu"}, where, "resources.")
    if "memory" not in found:
        raise MissingMemoryConfig(where, "[resources.memory]")
    memory = _table(found, "memory", where)
    _known(memory, {"max_bytes", "quota_bytes"}, where, "resources.memory.")
    if "max_bytes" not in memory:
        raise MissingMemoryConfig(where, "max_bytes in [resources.memory]")
    if "cpu" not in found:
        raise MissingCpuConfig(where, "[resources.cpu]")
    cpu = _table(found, "cpu", where)
    _known(cpu, {"max_fuel", "timeout_seconds", "quota_ms_per_s"}, where, "resources.cpu.")
    for name in ("max_fuel", "timeout_seconds"):
        if name not in cpu:
            raise MissingCpuConfig(where, f"{name} in [resources.cpu]")
    seconds = _within(cpu["timeout_seconds"], TIMEOUT_S, where, "resources.cpu.timeout_seconds", "s")
    return SandboxLimits(
        fuel=_within(cpu["max_fuel"], FUEL, where, "resources.cpu.max_fuel", "units"),
        timeout_ms=seconds * 1_000,
        memory=_within(memory["max_bytes"], MEMORY_BYTES, where, "resources.memory.max_bytes", "bytes"),
    )


def _quotas(found: dict[str, Any], limits: SandboxLimits, where: str) -> Quotas:
    """The quotas of all its executions together, where the manifest says them."""
    memory, cpu = found["memory"], found["cpu"]
    made = Quotas()
    if "quota_ms_per_s" in cpu:
        given = _within(cpu["quota_ms_per_s"], CPU_MS_PER_S, where, "resources.cpu.quota_ms_per_s", "ms")
        made = replace(made, cpu_ms_per_s=float(given))
    if "quota_bytes" in memory:
        bounds = (limits.memory, MEMORY_QUOTA_MAX)
        given = _within(memory["quota_bytes"], bounds, where, "resources.memory.quota_bytes", "bytes")
        made = replace(made, memory=given)
    return made


def _within(value: Any, bounds: tuple[int, int], where: str, name: str, unit: str) -> int:
    least, most = bounds
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidConfiguration(f"{where}: {name} is {value!r}; it is a whole number of {unit}")
    if value < least:
        raise InvalidConfiguration(f"{where}: {name} is {value}; it is at least {least} {unit}")
    if value > most:
        raise InvalidConfiguration(f"{where}: {name} is {value}; it is at most {most} {unit}")
    return value


def _table(found: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    table = found.get(name, {})
    if not isinstance(table, dict):
        raise InvalidConfiguration(f"{where}: {name} is {table!r}; it is a table")
    return table


def _known(found: dict[str, Any], names: set[str], where: str, place: str) -> None:
    unknown = sorted(set(found) - names)
    if unknown:
        raise InvalidConfiguration(f"{where}: {place}{unknown[0]} is unknown; there are {', '.join(sorted(names))}")


def _granted(manifest: Manifest) -> list[str]:
    """The capabilities that a manifest's tables are about: whoever lists paths to read may read files."""
    files = manifest.filesystem
    tables = {
        "read_file": files is not None and bool(files.read),
        "write_file": files is not None and bool(files.write),
        "delete_file": files is not None and bool(files.delete),
        "list_files": files is not None and bool(files.list),
        "fetch": bool(manifest.network.outbound),
        "kv": manifest.storage is not None and manifest.storage.max_size_mb > 0,
        "env": bool(manifest.environment.read),
        "process": bool(manifest.process.programs),
        "query": bool(manifest.query.databases),
        "run_function": bool(manifest.functions.start),
        "messaging": manifest.messaging != MessagingTable(),
    }
    return [name for name, allowed in tables.items() if allowed]
