"""A store in a PostgreSQL database, which many engines on many machines share (specs/postgres.md)."""
