"""Foreign code in the engine: its host calls are decided, performed and recorded as a session's are."""
