"""In a worker: what its engine lent it to read, by name (specs/worker-protocol.md, W6d). Empty anywhere else."""

from __future__ import annotations

LENT: dict[str, memoryview] = {}
