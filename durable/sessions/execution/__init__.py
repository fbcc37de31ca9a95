"""Running a session's cells: one after the other, interrupted, continued."""
