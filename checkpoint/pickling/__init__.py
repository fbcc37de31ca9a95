"""The half that pickles and unpickles: it runs in workers only (tests/unit/test_layers.py holds the line)."""
