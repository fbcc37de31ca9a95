"""Running a cell in the worker: compiling, executing, interrupting, checkpoints."""
