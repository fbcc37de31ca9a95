"""The dashboard: pages of a store for people, made on the server (specs/dashboard.md)."""
