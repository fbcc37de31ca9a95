"""Hazards that other savers of a namespace (dill 0.4, Kishu 0.3) fall for, and ours must not.

dill: a dump that fails leaves the good snapshot truncated; loading a file that was open for writing truncates the file.
Kishu: a checkout swaps the mapping, so functions that it brings back raise NameError; what was shown comes back as
text; what cannot be saved is made again by running its cells again, with all that they did.
"""

from __future__ import annotations

from pathlib import Path

import durable

CODE = """
import os
def note(text):
    descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, text.encode())
    os.close(descriptor)
note('ran ')
out = open(report, 'w')
out.write('first\\n')
out.flush()
base = 40
def add(n): return base + n
class Refuses:
    def __reduce__(self): raise SystemExit('no')
stream = (note(f'item {n} ') for n in range(3))
"""


async def test_none_of_them_happens_here(tmp_path: Path) -> None:
    journal, report = tmp_path / "journal", tmp_path / "report"
    async with durable.open(tmp_path / "work.db") as engine:
        session = await engine.session("desk")
        result = await session.execute(CODE, inputs={"journal": str(journal), "report": str(report)})
        assert result.error is None
        await session.execute("{'shown': [1, 2]}")
        where = (await session.execute("id(globals())")).value
        await session.checkpoint("good")

        # dill: a dump that fails
        assert (await session.execute("bad = Refuses(); out.write('second\\n'); out.flush()")).error is None
        await session.checkpoint("with what refuses")
        await session.restore("good")
        # Kishu: the mapping, and what is restored uses it
        assert (await session.execute("id(globals())")).value == where
        assert (await session.execute("base = 50; add(2)")).value == 52
        # dill: a file opened for writing
        assert report.read_text().startswith("first\nsecond\n")

    async with durable.open(tmp_path / "work.db") as engine:  # in a new worker
        session = await engine.session("desk")
        assert (await session.execute("[add(2), add.__globals__ is globals()]")).value == [52, True]
        # Kishu: what was shown
        assert (await session.execute("[out['shown'] for out in Out.values() if type(out) is dict]")).value == [[1, 2]]
        assert report.read_text().startswith("first\nsecond\n")
        # Kishu: cells are not run again for what is lost; it is named
        error = (await session.execute("next(stream)")).error
        assert error is not None
        assert "generator" in str(error)
        assert journal.read_text() == "ran "
