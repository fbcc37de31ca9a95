"""A client of `durable serve` without an engine, and the documents of its HTTP API."""
