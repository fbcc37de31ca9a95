"""Kishu's commits and checkouts of the same namespaces, in an IPython shell without a kernel around it.

A commit is what its hook does after each cell. A whole one follows a cell that makes the namespace anew.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from benchmarks import namespaces
from benchmarks.turns import Ready, Turn, serve

CHANGES = 10

os.environ["ENV_KISHU_TEST_MODE"] = "1"  # no browser, no notebook to save


class Shell:
    """A shell with Kishu attached, and one case in it."""

    def __init__(self, directory: Path, case: str) -> None:
        import nbformat
        from IPython.core.interactiveshell import InteractiveShell
        from kishu.jupyterint import KishuForJupyter
        from kishu.notebook_id import NotebookId

        notebook = directory / f"{case}.ipynb"
        nbformat.write(nbformat.v4.new_notebook(), notebook)
        self._shell = InteractiveShell()
        self._kishu = KishuForJupyter(NotebookId(key=case, path=notebook, kernel_id="none"), ip=self._shell)
        self._case = case

    def _commit(self, code: str) -> float:
        self._kishu.pre_run_cell(None)
        result = self._shell.run_cell(code, store_history=True)
        result.raise_error()
        started = time.perf_counter()
        self._kishu.post_run_cell(result)
        return time.perf_counter() - started

    def save(self) -> float:
        """Seconds of one whole commit."""
        return self._commit(namespaces.SOURCES[self._case])

    def change(self) -> float:
        """Seconds of one commit after a small change."""
        return self._commit(namespaces.CHANGE)

    def stored(self) -> int:
        """Bytes of its database."""
        return sum(path.stat().st_size for path in Path(self._kishu.database_path()).parent.glob("*.kishudb*"))

    def restore(self) -> float:
        """Seconds of a checkout of the commit before a small change, and back."""
        commits = [entry.commit_id for entry in self._kishu._kishu_graph.list_all_history()]
        started = time.perf_counter()
        self._kishu.checkout(commits[-1], skip_notebook=True)
        taken = time.perf_counter() - started
        self._kishu.checkout(commits[0], skip_notebook=True)
        return taken


def turns(directory: Path, case: str) -> dict[str, Turn]:
    made: list[Shell] = []

    def shell() -> Shell:
        if not made:
            made.append(Shell(directory, case))
            made[0].save()
        return made[0]

    async def save(_size: int) -> list[float]:
        return [shell().save()]  # it takes seconds

    async def change(size: int) -> list[float]:
        return [shell().change() for _ in range(min(size, 3))]

    async def change_bytes(_size: int) -> list[float]:
        before = shell().stored()
        for _ in range(CHANGES):  # its database grows by pages
            shell().change()
        return [(shell().stored() - before) / CHANGES]

    async def restore(_size: int) -> list[float]:
        return [shell().restore()]

    return {
        f"{case} save": save,
        f"{case} change": change,
        f"{case} bytes": change_bytes,
        f"{case} restore": restore,
    }


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    os.environ["HOME"] = str(directory)
    import kishu

    found = {name: turn for case in namespaces.SOURCES for name, turn in turns(directory, case).items()}
    yield Ready(f"kishu {version('kishu')}, {kishu.__app_name__}", found)


if __name__ == "__main__":
    serve(setup)
