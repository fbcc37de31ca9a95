"""Host calls of a session: journaled, permitted, audited."""
