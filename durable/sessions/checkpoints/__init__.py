"""A session's checkpoints: written, read, listed, exported, given up."""
