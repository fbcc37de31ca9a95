"""Small modules that import nothing of ours: ids, clock, limits, errors, events."""
