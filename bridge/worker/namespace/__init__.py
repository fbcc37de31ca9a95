"""The worker's namespace: reading, changing and showing variables."""
