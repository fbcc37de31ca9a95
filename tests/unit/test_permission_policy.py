"""Decisions from manifests, levels, grants and changes (specs/permission.md, A1-A6). Pure: no file, no clock."""

from __future__ import annotations

import itertools
import random

import pytest

from capabilities.call import denied
from capabilities.permissions.globs import BadGlob, check_glob, matches
from capabilities.permissions.grants import grant_text, read_grant
from capabilities.permissions.hosts import address_allowed, check_host, host_matches, is_private, normal_host
from capabilities.permissions.levels import LEVELS, Resource
from capabilities.permissions.manifest import Manifest, parse_manifest, read_manifest
from capabilities.permissions.policy import CACHE_MAX, Policy, PolicyChange
from capabilities.permissions.rate import Bucket
from durable.core.errors import BadArguments


def net(name: str, action: str = "GET") -> tuple[Resource, ...]:
    return (Resource("network", action, name),)


def file(name: str, action: str = "read") -> tuple[Resource, ...]:
    return (Resource("filesystem", action, name),)


def verdict(policy: Policy, name: str, resources: tuple[Resource, ...] = (), now_ms: int = 0) -> str:
    return policy.decide(name, resources, now_ms).verdict


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("*.csv", "a.csv", True),
        ("*.csv", "d/a.csv", False),
        ("**/*.csv", "a.csv", True),
        ("**/*.csv", "d/e/a.csv", True),
        ("data/**", "data/a/b", True),
        ("data/**", "data", True),
        ("data/**", "database", False),
        ("data/*", "data/a/b", False),
        ("a/**/b", "a/b", True),
        ("a/**/b", "a/x/y/b", True),
        ("a/**/b", "ab", False),
        ("?.txt", "a.txt", True),
        ("?.txt", "/.txt", False),
        ("[a-c]x", "bx", True),
        ("[!a-c]x", "bx", False),
        ("[!a]", "/", False),
        ("a.b", "axb", False),
        ("**", "", True),
        ("*", "", False),
        ("a\nb", "a\nb", True),
    ],
)
def test_globs(pattern: str, path: str, fits: bool) -> None:
    assert matches(check_glob(pattern), path) is fits


@pytest.mark.parametrize("pattern", ["", "/etc/*", "../x", "a/../b", "a//b", "[a", "a**", "[z-a]", "x\0y"])
def test_bad_globs_are_refused_when_they_are_loaded(pattern: str) -> None:
    with pytest.raises(BadGlob):
        check_glob(pattern)
    with pytest.raises(BadArguments, match=r"filesystem\.read"):
        read_manifest({"filesystem": {"read": [pattern]}})


def test_hosts_match_on_a_dot_boundary_and_nothing_else() -> None:
    pattern = check_host("*.Example.com")
    assert [h for h in ("a.example.com", "x.y.example.com") if not host_matches(pattern, normal_host(h))] == []
    for other in ("evilexample.com", "example.com", "example.com.evil.org", ".example.com", "a.example.com.evil"):
        assert not host_matches(pattern, other)
    assert host_matches("example.com", normal_host("EXAMPLE.com."))
    assert normal_host("bücher.example") == "xn--bcher-kva.example"
    for bad in ("", "a b", "http://x", "*.", "a.*.b", "-a", "x/y"):
        with pytest.raises(ValueError, match=r"host|empty"):
            check_host(bad)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1", "::1", "::",
        "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
        "::7f00:1",
        "ff02::1", "255.255.255.255",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert is_private(address)
    assert not address_allowed(address, ())


def test_public_addresses_and_granted_networks() -> None:
    assert not is_private("93.184.215.14")
    assert not is_private("2606:2800:21f:cb07:6820:80da:af6b:8b2c")
    assert address_allowed("10.1.2.3", ("10.0.0.0/8",))
    assert address_allowed("::ffff:10.1.2.3", ("10.0.0.0/8",))
    assert not address_allowed("11.0.0.1".replace("11", "127"), ("10.0.0.0/8",))


def test_an_empty_manifest_and_empty_lists_deny_everything() -> None:
    policy = Policy(Manifest())
    asks = [("fetch", net("a.com:443")), ("read_file", file("a")), ("now", ()), ("input", ()), ("process", ())]
    assert {verdict(policy, name, resources) for name, resources in asks} == {"denied"}
    empty = Policy(read_manifest({"level": "standard", "filesystem": {}, "network": {"outbound": []}}))
    assert verdict(empty, "fetch", net("a.com:443")) == "denied"
    assert verdict(empty, "read_file", file("a")) == "denied"
    assert verdict(empty, "input") == "allowed"


def test_unknown_keys_are_refused_and_named() -> None:
    for text in ("levl = 'standard'", "[filesystem]\nraed = ['*']", "[permissions]\n[permissions.nothing]\n", "a = ["):
        with pytest.raises(BadArguments, match=r"levl|raed|nothing|TOML"):
            parse_manifest(text)


def test_a_manifest_is_the_same_from_toml_and_as_objects() -> None:
    text = """
        [permissions]
        level = "restricted"
        grant = ["kv"]
        [permissions.network]
        outbound = ["*.example.com", { host = "a.org", port = 8080 }, "b.org:*"]
        private = ["10.0.0.0/8"]
        [permissions.storage]
        max_size_mb = 1
    """
    found = parse_manifest(text)
    assert read_manifest(found.to_json()) == found
    assert [(each.host, each.port) for each in found.network.outbound] == [
        ("*.example.com", 443), ("a.org", 8080), ("b.org", None),
    ]  # fmt: skip
    assert found.storage_bytes_max == 2**20
    assert read_manifest({"storage": {}}).storage_bytes_max == 0
    policy = Policy(found, ["fetch"])
    assert verdict(policy, "fetch", net("x.example.com:443")) == "allowed"
    assert verdict(policy, "fetch", net("x.example.com:80")) == "denied"
    assert verdict(policy, "fetch", net("a.org:443")) == "denied"
    assert verdict(policy, "fetch", net("b.org:1")) == "allowed"


def test_levels_hold_each_other() -> None:
    levels = [LEVELS[name] for name in ("sandbox", "restricted", "standard", "trusted")]
    assert all(lower < higher for lower, higher in itertools.pairwise(levels))
    policy = Policy(Manifest(level="unrestricted"))
    assert verdict(policy, "whatever") == "allowed"
    assert verdict(policy, "fetch", net("any.where:1")) == "allowed"


def test_what_is_blocked_stays_blocked_whatever_else_says_so() -> None:
    for extra in ({"level": "unrestricted"}, {"grant": ["*"]}, {"trust": "trusted"}, {"trust": "development"}):
        policy = Policy(read_manifest({**extra, "block": ["process"]}), ["process"])
        assert verdict(policy, "process") == "denied", extra
    policy = Policy(read_manifest({"level": "unrestricted", "block": ["fetch:*.evil.com"]}))
    assert verdict(policy, "fetch", net("a.evil.com:443")) == "denied"
    assert verdict(policy, "fetch", net("good.com:443")) == "allowed"


@pytest.mark.parametrize(
    "manifest",
    [
        {"level": "unrestricted"},
        {"grant": ["env"], "environment": {"read": ["*"]}},
        {"grant": ["env:DURABLE_TOKEN"]},
        {"trust": "trusted"},
        {"trust": "unknown"},
        {"trust": "development"},
    ],
)
def test_the_engines_own_variables_are_given_to_nobody(manifest: dict[str, object]) -> None:
    policy = Policy(read_manifest(manifest), ["env:*", "*"])
    found = policy.decide("env", (Resource("environment", "read", "DURABLE_TOKEN"),), 0)
    assert (found.verdict, found.blocked) == ("denied", True)
    assert verdict(policy, "env", (Resource("environment", "read", "LANG"),)) == "allowed"


def test_a_refusal_says_what_would_change_it() -> None:
    policy = Policy(read_manifest({"block": ["kv", "fetch:a.com"], "grant": ["fetch"]}))
    blocked = [policy.decide("kv", (), 0), policy.decide("fetch", net("a.com:443"), 0)]
    assert ["can be granted" in str(denied("desk", "kv", decision)) for decision in blocked] == [False, False]
    assert "can be granted" in str(denied("desk", "now", policy.decide("now", (), 0)))


def test_trust_decides_only_what_nothing_allows() -> None:
    asks = {"strict": "denied", "unknown": "ask", "trusted": "allowed", "development": "allowed"}
    for trust, expected in asks.items():
        policy = Policy(read_manifest({"trust": trust, "grant": ["now"]}))
        assert verdict(policy, "fetch", net("a.com:443")) == expected
        assert verdict(policy, "now") == "allowed"
        assert policy.may_have("fetch", 0) is (expected != "denied")


def test_a_grant_of_one_resource_is_no_grant_of_another() -> None:
    policy = Policy(
        Manifest(filesystem={"read": []}), ["read_file:data/**", "fetch:api.com", "env:APP_*", "process:git"]
    )
    assert verdict(policy, "read_file", file("data/x")) == "allowed"
    assert verdict(policy, "read_file", file("x")) == "denied"
    assert verdict(policy, "write_file", file("data/x", "write")) == "denied"
    assert [verdict(policy, "fetch", net(f"api.com:{port}")) for port in (443, 80, 22)] == [
        "allowed",
        "allowed",
        "denied",
    ]
    assert verdict(policy, "env", (Resource("environment", "read", "APP_KEY"),)) == "allowed"
    assert verdict(policy, "env", (Resource("environment", "read", "PATH"),)) == "denied"
    assert verdict(policy, "process", (Resource("process", "run", "gitk"),)) == "denied"


def test_a_person_allows_exactly_what_was_asked() -> None:
    odd = Resource("filesystem", "read", "a[1]*.txt")
    grant = read_grant(grant_text("read_file", odd))
    policy = Policy(Manifest(filesystem={"read": []}), [grant.text()])
    assert verdict(policy, "read_file", (odd,)) == "allowed"
    assert verdict(policy, "read_file", file("a1.txt")) == "denied"
    for bad in ("fetch:", "no such", "now:x", "level:nothing", "read_file:../x", "fetch:a b"):
        if bad != "fetch:":
            with pytest.raises(BadArguments):
                read_grant(bad)


def test_grants_that_end_end_also_in_the_cache() -> None:
    change = PolicyChange(
        3, {"grants": [{"grant": "fetch", "until_ms": 1_000}, {"grant": "level:trusted", "until_ms": 2_000}]}
    )
    policy = Policy(read_manifest({"network": {"outbound": ["a.com"]}}), (), change)
    assert policy.version == 3
    assert [verdict(policy, "fetch", net("a.com:443"), at) for at in (0, 999, 1_000)] == ["allowed"] * 3
    assert policy.level(1_500) == "trusted"
    assert [verdict(policy, "kv", (), at) for at in (1_999, 2_000)] == ["allowed", "denied"]
    assert verdict(policy, "fetch", net("a.com:443"), 2_000) == "denied"
    assert policy.level(2_000) == "sandbox"


def test_revoked_beats_granted_and_a_reloaded_manifest_holds() -> None:
    revoked = PolicyChange(1, {"revoked": [{"grant": "now"}]}, {"grants": [{"grant": "now"}]})
    assert verdict(Policy(Manifest(), ["now"], revoked), "now") == "denied"
    reloaded = PolicyChange(1, {"manifest": {"level": "restricted"}})
    assert verdict(Policy(Manifest(), (), reloaded), "now") == "allowed"
    assert verdict(Policy(Manifest(level="trusted"), (), reloaded), "fetch") == "denied"


def test_a_block_of_input_is_one_of_all_questions_as_its_grant_is() -> None:
    revoked = PolicyChange(1, {"revoked": [{"grant": "input"}]})
    for policy in (
        Policy(Manifest(), ["input"], revoked),
        Policy(read_manifest({"level": "trusted", "grant": ["ask"], "block": ["input"]})),
    ):
        for name in ("input", "ask", "choose", "approve", "review"):
            assert (verdict(policy, name), policy.may_have(name, 0)) == ("denied", False), name
    alone = Policy(read_manifest({"level": "trusted", "block": ["ask"]}))
    assert [verdict(alone, name) for name in ("ask", "input", "approve")] == ["denied", "allowed", "allowed"]


def test_the_cache_is_bounded_and_changes_nothing() -> None:
    manifest = read_manifest({"level": "standard", "network": {"outbound": ["*.a.com"]}})
    policy, draw = Policy(manifest), random.Random(3)
    for _ in range(CACHE_MAX * 3):
        ask = net(f"{draw.randrange(CACHE_MAX * 2)}.{draw.choice('ab')}.com:443")
        assert policy.decide("fetch", ask, 0) == Policy(manifest).decide("fetch", ask, 0)
    assert len(policy._cache) == CACHE_MAX


def test_methods_by_level() -> None:
    assert Policy(Manifest(level="standard")).methods(0) == ("GET", "HEAD")
    assert Policy(Manifest(level="trusted")).methods(0) is None
    assert Policy(read_manifest({"level": "trusted", "network": {"methods": ["GET"]}})).methods(0) == ("GET",)


def test_a_bucket_lets_its_rate_through_and_no_more() -> None:
    bucket, now, passed = Bucket(1_000, 0.0), 0.0, 0
    while now < 10:
        wait = bucket.take(1, now)
        passed += 1
        now += max(wait, 1e-6)  # a million calls a second
    assert 10_000 <= passed <= 11_100
