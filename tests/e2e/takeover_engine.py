"""One engine of a takeover campaign, in a process of its own: `python -m tests.e2e.takeover_engine STORE FOLDER`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.contract.job_histories import record
from tests.e2e import takeover_jobs

if __name__ == "__main__":
    takeover_jobs.FOLDER = sys.argv[2]
    record(Path(takeover_jobs.FOLDER))
    asyncio.run(takeover_jobs.serve(sys.argv[1]))
