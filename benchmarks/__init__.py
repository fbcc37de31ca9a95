"""Benchmarks of durable-exec beside its peers, in one run, as ratios: `python -m benchmarks` (benchmarks/README.md)."""
