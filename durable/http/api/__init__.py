"""The HTTP API at `/api/v1` (specs/http-api.md)."""
