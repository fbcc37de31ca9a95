"""Notebooks as files: run durably, written from a session, brought up to date (specs/notebook.md)."""
