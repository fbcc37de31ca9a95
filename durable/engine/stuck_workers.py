"""Which running cells have a worker that cannot go on by itself, as this machine's kernel tells it now.

For lists, of whatever engine's workers. The engine itself watches its own and tells of them as events
(`bridge/host/worker_watch.py`); what stuck means is in one place for both (`bridge/host/proc_vitals.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from durable.engine.views import ServedFunctions
from durable.store.port import StoreFace
from durable.store.rows import ExecutionRow

AGAIN_S = 0.05
"""Between the two looks that have to agree, without CPU time used: a thread may be between two locks."""


async def stuck_workers(store: StoreFace, living: ServedFunctions, rows: Sequence[ExecutionRow]) -> dict[str, str]:
    """By execution id, why its worker is stuck. Nothing for a store elsewhere: its workers are not of this machine."""
    running = {row.session: row.id for row in rows if row.session is not None and row.state == "running"}
    if not running or (store.local is None and store.file is None):
        return {}
    from bridge.host.proc_vitals import cpu_seconds, why_stuck

    suspects: dict[str, tuple[int, str, float | None]] = {}
    for session in await store.reads.sessions():
        execution, pid = running.get(session.name), session.worker_pid
        if execution is None or pid is None or session.owner not in living.pids:
            continue
        if (reason := why_stuck(pid)) and await _is_worker(store, session.name, pid):
            suspects[execution] = (pid, reason, cpu_seconds(pid))
    if suspects:
        await asyncio.sleep(AGAIN_S)
    return {
        execution: f"worker {pid}: {reason}"
        for execution, (pid, reason, cpu) in suspects.items()
        if why_stuck(pid) == reason and cpu_seconds(pid) == cpu
    }


async def _is_worker(store: StoreFace, session: str, pid: int) -> bool:
    """Whether that process of this machine is the session's worker: a database has workers of other machines too."""
    from durable.sessions.ownership.left_worker import start_time

    worker = (await store.request("session.get", {"session": session})).data.get("worker")
    return worker is not None and worker["pid"] == pid and start_time(pid) == int(worker["start"])
