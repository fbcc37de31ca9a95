"""A Resonate server that is not ours: promises, tasks and schedules by the protocol alone."""
