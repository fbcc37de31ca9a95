"""Finds, in the source of durable functions, what a replay would not do again in the same way (docs/lint.md)."""
