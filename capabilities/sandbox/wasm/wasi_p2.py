"""Preview 2's time and chance, which are ours (`wasi.Ambient`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NoReturn

from capabilities.sandbox.errors import CapabilityDenied
from capabilities.sandbox.wasm.component_imports import Interface
from capabilities.sandbox.wasm.wasi import READING_NS, Ambient

VERSIONS = ("0.2.12", "0.2.9999")
"""wasmtime's own, which is what a component that imports exactly that one gets, and one that is newer than any, which
is what all others of 0.2 get."""


def shadows(ambient: Ambient, component: str) -> Mapping[str, Interface]:
    """The interfaces that are these instead of WASI's."""

    def waits(_: int) -> NoReturn:
        raise CapabilityDenied(component, "wait for", "wasi:clocks", "a sandbox does not sleep; ask for `sleep`")

    def when() -> dict[str, int]:
        seconds, ns = divmod(ambient.now_ns(), 10**9)
        return {"seconds": seconds, "nanoseconds": ns}

    def number() -> int:
        return int.from_bytes(ambient.random(8), "little")

    found: dict[str, Interface] = {}
    for version in VERSIONS:
        found |= _interfaces(version, ambient, waits, when, number)
    return found


def _interfaces(
    version: str,
    ambient: Ambient,
    waits: Callable[[int], NoReturn],
    when: Callable[[], dict[str, int]],
    number: Callable[[], int],
) -> dict[str, Interface]:
    def pair() -> tuple[int, int]:
        return number(), number()

    return {
        f"wasi:clocks/wall-clock@{version}": {
            "now": when,
            "resolution": lambda: {"seconds": 0, "nanoseconds": READING_NS},
        },
        f"wasi:clocks/monotonic-clock@{version}": {
            "now": ambient.monotonic_ns,
            "resolution": lambda: READING_NS,
            "subscribe-instant": waits,
            "subscribe-duration": waits,
        },
        f"wasi:random/random@{version}": {"get-random-bytes": ambient.random, "get-random-u64": number},
        f"wasi:random/insecure@{version}": {
            "get-insecure-random-bytes": ambient.random,
            "get-insecure-random-u64": number,
        },
        f"wasi:random/insecure-seed@{version}": {"insecure-seed": pair},
    }
