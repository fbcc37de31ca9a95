"""Notebooks of ordinary code, run under this kernel and under ipykernel: their outputs compared cell by cell.

    python -m tests.jupyter.ordinary_notebooks [--only WORD] [--killed]

The notebooks are in `ordinary_notebooks.txt`. With `--killed` our kernel is killed after every third cell; a cell that
then shows something else counts as named where a name in its code is one that the restore's report said is lost.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.jupyter.front_end import FrontEnd, Ran

CELL_S = 120
"""Seconds for one cell: imports of large packages on a machine that is busy."""

_VARIES = re.compile(r"0x[0-9a-f]{6,}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
KNOWN = {
    "raise ExceptionGroup": "IPython prints the traceback of a group to stderr, and sends no error",
}
"""Cells that differ on purpose, by how they begin, and why."""

_LOST = re.compile(r"^  (\w+)(?::|$)", re.MULTILINE)


@dataclass(slots=True)
class Notebook:
    """A notebook's name and the code of its cells."""

    name: str
    cells: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Difference:
    """A cell that did not show the same, and whether what it uses was said to be lost."""

    notebook: str
    code: str
    ours: list[Any]
    theirs: list[Any]
    named: bool


def notebooks(only: str = "") -> list[Notebook]:
    """The notebooks whose name has that word."""
    text = (Path(__file__).parent / "ordinary_notebooks.txt").read_text(encoding="utf-8")
    found = []
    for part in text.split("### ")[1:]:
        name, _, code = part.partition("\n")
        found.append(Notebook(name, [cell.strip("\n") for cell in code.split("\n---\n")]))
    return [notebook for notebook in found if only in notebook.name]


def shown(ran: Ran) -> list[Any]:
    """A cell's outputs as a page has them in the end, without what differs from one run to the next."""
    outputs: list[list[Any]] = []
    clears = False
    for message in ran.messages:
        kind, content = message["msg_type"], message["content"]
        if content.get("metadata", {}).get("durable") == "notice" or kind.startswith("comm"):
            continue
        if kind == "clear_output":
            clears = bool(content["wait"])
            outputs = outputs if clears else []
            continue
        if clears:
            outputs, clears = [], False
        if kind == "update_display_data":
            for output in outputs:
                if output[0] == "display" and output[2] == content["transient"].get("display_id"):
                    output[1] = content["data"]
        elif kind == "stream" and outputs and outputs[-1][:2] == ["stream", content["name"]]:
            outputs[-1][2] += content["text"]
        elif kind == "stream":
            outputs.append(["stream", content["name"], content["text"]])
        elif kind == "error":
            outputs.append(["error", content["ename"], content["evalue"]])
        elif kind in ("display_data", "execute_result"):
            outputs.append(["display", content["data"], content.get("transient", {}).get("display_id")])
    return [_steady(output) for output in outputs]


def _steady(value: Any) -> Any:
    if isinstance(value, str):
        return _VARIES.sub("…", value.replace("\r\n", "\n"))  # ipykernel gives shells a terminal
    if isinstance(value, dict):
        return {key: _steady(one) for key, one in value.items()}
    return [_steady(one) for one in value] if isinstance(value, list) else value


class Run:
    """One kernel that runs notebooks one after the other."""

    def __init__(self, kernel: str, directory: Path, *, kill_every: int = 0) -> None:
        directory.mkdir()
        self._page = FrontEnd(directory, "all.ipynb" if kernel == "durable" else None, kernel)
        self._kill_every = kill_every
        self._cells = 0
        self.lost: set[str] = set()

    def __enter__(self) -> Run:
        self._page.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._page.close()

    def outputs(self, notebook: Notebook) -> list[list[Any]]:
        """The outputs of each of its cells."""
        found = []
        for code in notebook.cells:
            if self._kill_every and self._cells and self._cells % self._kill_every == 0:
                self._page.kill()
                self._page.again()
            self._cells += 1
            ran = self._page.run(code, timeout=CELL_S)
            self.lost |= set(_LOST.findall(ran.notices))
            found.append(shown(ran))
        return found


def compared(chosen: Sequence[Notebook], directory: Path, *, kill_every: int = 0) -> list[Difference]:
    """The cells that did not show the same under both kernels."""
    with Run("durable", directory / "ours", kill_every=kill_every) as ours:
        mine = [ours.outputs(notebook) for notebook in chosen]
    with Run("python3", directory / "theirs") as theirs:
        other = [theirs.outputs(notebook) for notebook in chosen]
    return [
        Difference(notebook.name, code, got, wanted, _is_named(code, ours.lost))
        for notebook, got_all, wanted_all in zip(chosen, mine, other, strict=True)
        for code, got, wanted in zip(notebook.cells, got_all, wanted_all, strict=True)
        if got != wanted
    ]


def _is_named(code: str, lost: set[str]) -> bool:
    return any(code.startswith(begin) for begin in KNOWN) or bool(set(re.findall(r"\w+", code)) & lost)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--killed", action="store_true")
    options = parser.parse_args()
    chosen = notebooks(options.only)
    with tempfile.TemporaryDirectory() as place:
        for name in ("data", "runtime"):
            os.environ[f"JUPYTER_{name.upper()}_DIR"] = f"{place}/{name}"
        os.environ["IPYTHONDIR"], os.environ["DURABLE_STORE"] = f"{place}/ipython", f"{place}/state.db"
        command = [sys.executable, "-m", "durable.cli", "jupyter", "install", "--user"]
        subprocess.run(command, check=True, capture_output=True)
        differences = compared(chosen, Path(place), kill_every=3 if options.killed else 0)
    for one in differences:
        about = " (named)" if one.named else ""
        print(f"== {one.notebook}{about}\n{one.code}\n-- ours   {one.ours}\n-- theirs {one.theirs}")
    cells, named = sum(len(notebook.cells) for notebook in chosen), sum(one.named for one in differences)
    print(
        f"{len(chosen)} notebooks, {cells} cells: {cells - len(differences)} equal, {named} named, "
        f"{len(differences) - named} different"
    )
    return int(len(differences) > named)


if __name__ == "__main__":
    raise SystemExit(main())
