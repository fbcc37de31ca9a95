"""Queues: how many executions may run at a time, in which order, and how fast (specs/queues.md). No I/O."""
