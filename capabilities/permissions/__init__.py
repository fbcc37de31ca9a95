"""Permissions: a manifest, and decisions from it. Pure: no file, socket or clock is touched here."""
