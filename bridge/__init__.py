"""The bridge between an engine and its workers, the processes that run code of sessions: protocol and both ends."""
