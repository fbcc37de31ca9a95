"""Sources of real components, built by tests that need them."""
