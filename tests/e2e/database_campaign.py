"""A database with faults under engines that are killed: `python -m tests.e2e.database_campaign --fault crash`.

crash: PostgreSQL is killed with all its processes and started again every five seconds. failover: it is killed for
good, and its standby takes its place. network: the way from an engine to it delays, loses, breaks, or says nothing for
longer than a lease. pooler: PgBouncer stands before it, and either of both is killed. disk: its disk is full for
some seconds, which ends the server where its log finds no room. Of three engines one is killed
every few seconds. Jobs of several steps and executions of a few sessions are started meanwhile. What must hold at the
end: every one that was acknowledged has its result, each step is recorded once and was not performed again after that,
no session ran twice at a time or out of order, nothing is left unfinished, and the answers that engines got are those
of a store that does one thing at a time. A failure prints the seed and keeps the folder.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

import durable
from durable.store.postgres.address import address_of
from tests.contract import job_histories
from tests.contract.postgres_rules import broken
from tests.e2e import takeover_jobs
from tests.e2e.database_faults import FAULTS, Fault
from tests.e2e.takeover import Engines, check_marks, step_runs
from tests.postgres_server import rows_of

CELL_EVERY_S = 1.0
ENGINES = 3
END_S = 240.0
"""For what is left when nothing is killed any more."""

_AUDIT = """
CREATE TABLE {0}.audit_settled (id text, after text);
CREATE FUNCTION {0}.note_settled() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO {0}.audit_settled VALUES (new.id, new.state); RETURN NULL; END $$;
CREATE TRIGGER note_settled AFTER INSERT OR UPDATE OF state ON {0}.promises
    FOR EACH ROW WHEN (new.state <> 'pending') EXECUTE FUNCTION {0}.note_settled();
"""


class Campaign:
    """The server, the engines, and what was started on them."""

    def __init__(self, fault: Fault, folder: Path, seed: int) -> None:
        self.url = fault.url
        self._fault = fault
        self._folder = folder
        self._dice = random.Random(seed)
        self._engines = Engines(fault.engine_url, folder)
        self._up = asyncio.Lock()
        """Held while the server is down, and while an engine starts, which would be refused then."""
        self._jobs: list[durable.Execution[Any]] = []
        self._cells: dict[str, list[str]] = {}
        self._recorded: set[tuple[str, int]] = set()
        self._runs: Counter[tuple[str, int]] = Counter()
        self.happened: Counter[str] = Counter()

    async def run(self, seconds: float, jobs: int, sessions: int) -> None:
        """All of it. AssertionError on a broken promise."""
        try:
            async with durable.open(self.url, serve=False) as client:
                self._audit()
                for _ in range(ENGINES):
                    await self._engines.start()
                names = [f"desk-{n}" for n in range(sessions)]
                desks = {name: await client.session(name) for name in names}
                until = time.monotonic() + seconds
                work = [self._crash(until), self._kill(until), self._start_jobs(client, jobs, seconds)]
                await asyncio.gather(*work, *(self._submit(name, desk, until) for name, desk in desks.items()))
                async with asyncio.timeout(END_S):
                    await self._check_results(desks)
        finally:
            await self._engines.close()
        self._check_tables()
        self._check_history()

    def _audit(self) -> None:
        with psycopg.connect(address_of(self.url).conninfo, autocommit=True) as connection:
            connection.execute(_AUDIT.format(address_of(self.url).schema).encode())

    # -- what goes wrong ------------------------------------------------------------------------------------------

    async def _crash(self, until: float) -> None:
        while time.monotonic() < until:
            await asyncio.sleep(self._fault.every_s)
            async with self._up:
                self.happened[await asyncio.to_thread(self._fault.act, self._dice)] += 1

    async def _kill(self, until: float) -> None:
        while time.monotonic() < until:
            await asyncio.sleep(1 + 3 * self._dice.random())
            await self._engines.kill(self._dice.choice(sorted(self._engines.processes)))
            self.happened["engine killed"] += 1
            async with self._up:
                self._check_steps()
                await self._engines.start()

    # -- what is done ---------------------------------------------------------------------------------------------

    async def _start_jobs(self, client: durable.Engine, jobs: int, seconds: float) -> None:
        for job in range(jobs):
            start = partial(client.start, takeover_jobs.several_steps, job, 0.05, id=f"job-{job}")
            self._jobs.append(await self._with_room(start))
            await asyncio.sleep(seconds * 0.8 / jobs)

    async def _submit(self, name: str, desk: durable.Session, until: float) -> None:
        submitted = self._cells[name] = []
        while time.monotonic() < until:
            inputs = {"desk": name, "n": len(submitted) + 1, "folder": str(self._desks()), "seconds": 0.05}
            submit = partial(desk.submit, takeover_jobs.CELL, inputs=inputs)
            submitted.append((await self._with_room(submit)).id)
            await asyncio.sleep(CELL_EVERY_S)

    async def _with_room[T](self, ask: Callable[[], Awaitable[T]]) -> T:
        """What it gives, asked again while the disk is full: nothing is recorded then."""
        while True:
            try:
                return await ask()
            except durable.StoreFull:
                self.happened["refused on a full disk"] += 1
                await asyncio.sleep(CELL_EVERY_S)

    def _desks(self) -> Path:
        place = self._folder / "desks"
        place.mkdir(exist_ok=True)
        return place

    # -- what must hold -------------------------------------------------------------------------------------------

    def _check_steps(self) -> None:
        """What was recorded before the last kill has not been performed since."""
        runs = step_runs(self._folder)
        again = {step for step in self._recorded if runs[step] > self._runs[step]}
        assert not again, f"recorded before a kill and performed again: {sorted(again)[:5]}"
        rows = rows_of(self.url, "SELECT id FROM promises WHERE id LIKE 'exec:job-%.%' AND state='resolved'")
        self._recorded = {(row[0][5:].partition(".")[0], int(row[0].rpartition(".")[2]) - 1) for row in rows}
        self._runs = step_runs(self._folder)

    async def _check_results(self, desks: dict[str, durable.Session]) -> None:
        for job, execution in enumerate(self._jobs):
            assert await execution.result() == [job * 10 + step for step in range(takeover_jobs.STEPS)]
        for name, submitted in self._cells.items():
            assert submitted == [f"{name}@{n}" for n in range(1, len(submitted) + 1)]
            outcomes = [await desks[name].result(each) for each in submitted]
            assert [each.value for each in outcomes] == list(range(1, len(submitted) + 1)), (name, outcomes)
            assert [each.stdout for each in outcomes] == [f"{n}\n" for n in range(1, len(submitted) + 1)]
            check_marks(self._desks(), [name], len(submitted))

    def _check_tables(self) -> None:
        counts = rows_of(self.url, "SELECT id, count(*) FROM audit_settled GROUP BY id")
        assert not [row for row in counts if row[1] != 1], "settled more than once"
        steps = [row for row in counts if row[0].startswith("exec:job-")]
        assert len(steps) == len(self._jobs) * (1 + takeover_jobs.STEPS)
        left = rows_of(self.url, "SELECT id, state FROM tasks WHERE state <> 'fulfilled'")
        assert not left, f"left unfinished: {left}"
        rules = broken(self.url)
        assert not rules, rules
        runs = step_runs(self._folder)
        self.happened |= Counter({"jobs": len(self._jobs), "steps performed again": runs.total() - len(runs)})
        self.happened["executions of sessions"] = sum(map(len, self._cells.values()))

    def _check_history(self) -> None:
        """Each request about a job was done at one moment between its question and its answer."""
        count, wrong = job_histories.check(self._folder)
        assert not wrong, f"the answers fit no order: {wrong}"
        self.happened["operations in order"] = count


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--fault", choices=sorted(FAULTS), default="crash")
    parser.add_argument("--jobs", type=int, default=400)
    parser.add_argument("--sessions", type=int, default=3)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="durable-campaign-"))
    fault = FAULTS[given.fault]()
    try:
        job_histories.record(folder)
        campaign = Campaign(fault, folder, given.seed)
        asyncio.run(campaign.run(given.seconds, given.jobs, given.sessions))
        print(json.dumps({"seed": given.seed, "fault": given.fault, **campaign.happened}))
        shutil.rmtree(folder)
    except BaseException:
        print(f"seed {given.seed}, see {folder}", file=sys.stderr)
        raise
    finally:
        fault.stop()


if __name__ == "__main__":
    main()
