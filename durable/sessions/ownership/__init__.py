"""Which engine runs a session, and its worker: admission, eviction, takeover."""
