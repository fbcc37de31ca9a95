"""Reading a cell before it runs: its mode and the calls in it that block."""
