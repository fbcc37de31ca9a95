"""A session's output: stored, live, followed, held back."""
