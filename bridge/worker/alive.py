"""What of the user's is alive in a worker besides the code of a cell: threads and child processes."""

from __future__ import annotations

import os
import threading

from bridge.worker.loop import WorkerLoop


def threads_alive(loop: WorkerLoop) -> int:
    """Threads that Python code started and that have not ended, without those that wait for work of the loop's."""
    return max(0, len(threading.enumerate()) - 1 - loop.resting_threads)


def children_alive() -> int:
    """Processes that this one started and has not collected."""
    found = 0
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/children") as children:
                found += len(children.read().split())
        except OSError:
            continue  # the thread has ended
    return found
