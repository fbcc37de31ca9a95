"""The format of a checkpoint: payload, groups, compression, environment, signature."""
