"""Where large data of checkpoints is kept: a directory, an object store, a memory file."""
