"""The engine's side of a checkpoint: its seal, and captures too large for a message."""
