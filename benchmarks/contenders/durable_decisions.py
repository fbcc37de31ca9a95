"""Ours: decisions of a policy about reading a file: of one that was decided before, of another one each time."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from itertools import count
from pathlib import Path

from benchmarks.turns import Ready, serve
from capabilities.permissions.levels import Resource
from capabilities.permissions.manifest import parse_manifest
from capabilities.permissions.policy import Policy

DECISIONS = 20
"""In one sample: few, so that what else runs here falls into some samples only."""
NOW_MS = 1_700_000_000_000
MANIFEST = """
grant = ["read_file", "fetch"]
[filesystem]
read = ["shared/*.csv", "reports/2025/**", "data/**"]
write = ["data/out/**"]
[network]
outbound = ["*.example.com"]
"""


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:  # noqa: ARG001  # it stores nothing
    policy = Policy(parse_manifest(MANIFEST))
    numbers = count()

    async def decided(size: int, *, known: bool) -> list[float]:
        samples = []
        for _ in range(size):
            names = ["data/0"] * DECISIONS if known else [f"data/{next(numbers)}" for _ in range(DECISIONS)]
            asked = [(Resource("filesystem", "read", name),) for name in names]
            started = time.perf_counter()
            for resources in asked:
                decision = policy.decide("read_file", resources, NOW_MS)
            samples.append((time.perf_counter() - started) / DECISIONS)
            assert decision.verdict == "allowed", decision
        return samples

    turns = {"cached": partial(decided, known=True), "new": partial(decided, known=False)}
    yield Ready(f"durable-exec {version('durable-exec')}", turns)


if __name__ == "__main__":
    serve(setup)
