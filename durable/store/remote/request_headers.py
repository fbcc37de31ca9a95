"""Headers of requests to a served store (specs/http.md)."""

from __future__ import annotations

CLIENT = "durable-client"
"""The name of the engine that asks."""

BATCH = "durable-batch"
"""The number of its batch: a batch that comes twice is done once."""

AGAIN = "durable-again"
"""The server may have done this already, before the connection broke or the server ended."""
