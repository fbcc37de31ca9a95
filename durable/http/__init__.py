"""A store over HTTP: the Resonate protocol for any SDK, and what our own remote engines need (specs/http.md)."""
