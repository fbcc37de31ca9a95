"""One engine of a takeover campaign, in a process of its own: `python -m tests.e2e.takeover_engine STORE FOLDER`."""

from __future__ import annotations

import asyncio
import sys

from tests.e2e import takeover_jobs

if __name__ == "__main__":
    takeover_jobs.FOLDER = sys.argv[2]
    asyncio.run(takeover_jobs.serve(sys.argv[1]))
