"""Looking after a store: backup, garbage, doctor, invariants."""
