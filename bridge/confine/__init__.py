"""Limits and isolation of workers (specs/isolation.md): what a worker may use, enforced by the kernel."""
