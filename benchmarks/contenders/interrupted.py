"""The code that is interrupted, and what is reported of it: the same for everybody."""

from __future__ import annotations

import math

CODE = {
    "loop": "print('begun', flush=True)\nwhile True: pass",
    "await": "import asyncio\nprint('begun', flush=True)\nawait asyncio.sleep(1000)",
    "sleep": "import time\nprint('begun', flush=True)\ntime.sleep(1000)",
    "lock": "import threading\nlock = threading.Lock()\nlock.acquire()\nprint('begun', flush=True)\nlock.acquire()",
}


def p99(samples: list[float]) -> float:
    """The 99th percentile; of fewer than a hundred the largest."""
    return sorted(samples)[math.ceil(0.99 * len(samples)) - 1]
