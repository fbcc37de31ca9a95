"""Component.toml: each fault its own error, and what its tables allow (A17, A18, A71, A72)."""

from __future__ import annotations

from typing import Any

import pytest

from capabilities.permissions.levels import Resource
from capabilities.sandbox.component_manifest import parse_component
from capabilities.sandbox.errors import InvalidConfiguration, MissingCpuConfig, MissingMemoryConfig, SandboxError
from capabilities.sandbox.quotas import Quotas

WHOLE = """
[component]
id = "counter"
version = "1.2"
[resources.memory]
max_bytes = 1048576
[resources.cpu]
max_fuel = 10000
timeout_seconds = 5
"""


def test_limits_are_those_that_it_says() -> None:
    found = parse_component(WHOLE)
    assert (found.id, found.version) == ("counter", "1.2")
    assert (found.limits.memory, found.limits.fuel, found.limits.timeout_ms) == (1_048_576, 10_000, 5_000)
    assert (found.quotas.cpu_ms_per_s, found.quotas.memory) == (1_000, 256 * 2**20)
    text = WHOLE.replace("= 5", "= 5\nquota_ms_per_s = 250").replace("1048576", "1048576\nquota_bytes = 1048576")
    assert parse_component(text).quotas == Quotas(250.0, 1_048_576)
    policy = parse_component(WHOLE).policy().manifest
    assert (policy.storage_bytes_max, policy.quotas.calls_per_s) == (100 * 2**20, 1_000)
    assert policy.quotas.network_bytes_per_s == 10_000_000


@pytest.mark.parametrize(
    ("before", "after", "error", "says"),
    [
        ("[resources.memory]\nmax_bytes = 1048576", "", MissingMemoryConfig, r"no \[resources.memory\]"),
        ("max_bytes = 1048576", "", MissingMemoryConfig, "no max_bytes"),
        ("[resources.cpu]\nmax_fuel = 10000\ntimeout_seconds = 5", "", MissingCpuConfig, r"no \[resources.cpu\]"),
        ("max_fuel = 10000", "", MissingCpuConfig, "no max_fuel"),
        ("timeout_seconds = 5", "", MissingCpuConfig, "no timeout_seconds"),
        ("1048576", "524287", InvalidConfiguration, "max_bytes is 524287; it is at least 524288"),
        ("1048576", "4194305", InvalidConfiguration, "max_bytes is 4194305; it is at most 4194304"),
        ("10000", "999", InvalidConfiguration, "max_fuel is 999; it is at least 1000"),
        ("10000", "100000001", InvalidConfiguration, "it is at most 100000000"),
        ("= 5", "= 0", InvalidConfiguration, "timeout_seconds is 0; it is at least 1 s"),
        ("= 5", "= 301", InvalidConfiguration, "timeout_seconds is 301; it is at most 300 s"),
        ("= 5", "= 2.5", InvalidConfiguration, "timeout_seconds is 2.5; it is a whole number"),
        ("= 5", "= true", InvalidConfiguration, "timeout_seconds is True"),
        ('id = "counter"', "", InvalidConfiguration, "no component.id"),
        ('"counter"', '"a/b"', InvalidConfiguration, "component.id"),
        ("version", "verzion", InvalidConfiguration, "component.verzion is unknown"),
        (
            "max_bytes = 1048576",
            "max_bytes = 1048576\nmin = 1",
            InvalidConfiguration,
            "resources.memory.min is unknown",
        ),
        ("= 5", "= 5\nquota_ms_per_s = 0", InvalidConfiguration, "quota_ms_per_s is 0; it is at least 1 ms"),
        ("= 5", "= 5\nquota_ms_per_s = 64001", InvalidConfiguration, "quota_ms_per_s is 64001; it is at most 64000"),
        ("= 5", "= 5\nquota = 1", InvalidConfiguration, "resources.cpu.quota is unknown"),
        ("1048576", "1048576\nquota_bytes = 1048575", InvalidConfiguration, "quota_bytes is 1048575; it is at least"),
        ("1048576", "1048576\nquota_bytes = 'x'", InvalidConfiguration, "quota_bytes is 'x'; it is a whole number"),
        ("1048576", "'1 MB'", InvalidConfiguration, "max_bytes is '1 MB'; it is a whole number of bytes"),
        ("10000", "1e4", InvalidConfiguration, "max_fuel is 10000.0; it is a whole number of units"),
        ("10000", "-1", InvalidConfiguration, "max_fuel is -1; it is at least 1000"),
        ("[resources.memory]\nmax_bytes = 1048576", "", MissingMemoryConfig, "there is no default"),
        ("[resources.memory]", "[resources.disk]", InvalidConfiguration, "resources.disk is unknown"),
        ("[resources.cpu]", "[resources.cpus]", InvalidConfiguration, "resources.cpus is unknown"),
        ("[component]", "resources = 1\n[component]", InvalidConfiguration, "is not TOML"),
        ('[component]\nid = "counter"\nversion = "1.2"', "component = 5", InvalidConfiguration, "it is a table"),
        ("[component]", "[extra]\n[component]", InvalidConfiguration, "extra is unknown"),
        ("[component]", "[component", InvalidConfiguration, "is not TOML"),
        ("", "", None, ""),
    ],
)
def test_each_fault_is_its_own_error(before: str, after: str, error: type[SandboxError] | None, says: str) -> None:
    text = WHOLE.replace(before, after)
    if error is None:
        parse_component(text)
        return
    with pytest.raises(error, match=says) as caught:
        parse_component(text)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("[permissions.filesystem]\nread = ['/etc/*']", "must be relative"),
        ("[permissions.filesystem]\nread = ['a/../b']", "without '..'"),
        ("[permissions.filesystem]\nreed = ['a']", "filesystem.reed"),
        ("[permissions.network]\noutbound = ['not a host']", "no host"),
        ("[permissions.storage]\nmax_size_mb = -1", "max_size_mb"),
        ("[permissions.disk]", "disk"),
    ],
)
def test_permissions_that_mean_nothing_are_refused_when_loaded(table: str, says: str) -> None:
    with pytest.raises(InvalidConfiguration, match=says):
        parse_component(WHOLE + table)


FILES = "[permissions.filesystem]\nread = ['data/*', 'logs/**']\nlist = ['data']\n"
HOSTS = "[permissions.network]\noutbound = ['*.example.com', {host = '10.0.0.7', port = 8080}]\n"
STORAGE = "[permissions.storage]\nnamespaces = ['shared']\nmax_size_mb = 1\n"


@pytest.mark.parametrize(
    ("table", "capability", "resource", "allowed"),
    [
        ("", "read_file", ("filesystem", "read", "data/a"), False),
        ("", "kv", ("storage", "read", ""), False),
        ("", "now", None, False),
        ("[permissions]\ngrant = ['now']", "now", None, True),
        (FILES, "read_file", ("filesystem", "read", "data/a"), True),
        (FILES, "read_file", ("filesystem", "read", "data/a/b"), False),
        (FILES, "read_file", ("filesystem", "read", "logs/a/b"), True),
        (FILES, "write_file", ("filesystem", "write", "data/a"), False),
        (FILES, "list_files", ("filesystem", "list", "data"), True),
        (HOSTS, "fetch", ("network", "GET", "api.example.com:443"), True),
        (HOSTS, "fetch", ("network", "GET", "example.com:443"), False),
        (HOSTS, "fetch", ("network", "GET", "evilexample.com:443"), False),
        (HOSTS, "fetch", ("network", "GET", "api.example.com:8443"), False),
        (HOSTS, "fetch", ("network", "GET", "10.0.0.7:8080"), True),
        (STORAGE, "kv", ("storage", "write", ""), True),
        (STORAGE, "kv", ("storage", "write", "shared"), True),
        (STORAGE, "kv", ("storage", "write", "other"), False),
        ("[permissions.storage]\nnamespaces = ['shared']", "kv", ("storage", "read", "shared"), False),
    ],
)
def test_its_tables_are_what_it_may(table: str, capability: str, resource: Any, allowed: bool) -> None:
    policy = parse_component(WHOLE + table).policy()
    touched = () if resource is None else (Resource(*resource),)
    assert (policy.decide(capability, touched, 0).verdict == "allowed") is allowed
