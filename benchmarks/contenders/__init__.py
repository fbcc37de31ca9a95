"""One module for each contender, run as a process of its own: `python -m benchmarks.contenders.NAME`."""
