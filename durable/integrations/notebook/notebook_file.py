"""A notebook's file: read, its parameters put in, written (specs/notebook.md, Files)."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from durable.core.errors import BadArguments
from durable.core.extras import install_command

PARAMETERS = "parameters"
"""The tag of the cell with default values, as papermill has it."""

INJECTED = "injected-parameters"
"""The tag of the cell with the values that were given."""

type Notebook = Any
"""A `nbformat.NotebookNode` of version 4."""


def read_notebook(path: Path) -> Notebook:
    """The notebook in a file, of version 4 whatever it was. BadArguments."""
    _require_nbformat()
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise BadArguments(f"there is no file {str(path)!r}") from None
    except OSError as error:
        raise BadArguments(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:
        raise BadArguments(f"{path} is no notebook: {error}") from None
    language = notebook.metadata.get("kernelspec", {}).get("language", "python")
    if language.lower() != "python":
        raise BadArguments(f"{path} is a notebook of {language}; sessions run Python")
    return notebook


def write_notebook(notebook: Notebook, path: Path) -> None:
    """Write it whole or not at all. OSError."""
    import nbformat

    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def new_notebook(cells: list[Any]) -> Notebook:
    """A notebook with these cells."""
    _require_nbformat()
    import nbformat

    metadata = {
        "kernelspec": {"name": "durable", "display_name": "Durable Python", "language": "python"},
        "language_info": {"name": "python"},
    }
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def is_run(cell: Any) -> bool:
    """Whether a cell has code to run."""
    return cell.cell_type == "code" and bool(cell.source.strip())


def tags_of(cell: Any) -> list[str]:
    """The tags of a cell."""
    tags = cell.metadata.get("tags", [])
    return [str(tag) for tag in tags] if isinstance(tags, list) else []


def with_parameters(notebook: Notebook, parameters: Mapping[str, Any]) -> Notebook:
    """A copy with a cell that sets these, after the one tagged `parameters`, or first. BadArguments."""
    import nbformat

    found = copy.deepcopy(notebook)
    if not parameters:
        return found
    for name in parameters:
        if not name.isidentifier():
            raise BadArguments(f"{name!r} is no name of a variable; write -p name=value")
    source = "\n".join(["# Parameters", *(f"{name} = {value!r}" for name, value in parameters.items())])
    cell = nbformat.v4.new_code_cell(source=source, metadata={"tags": [INJECTED]}, id="injected-parameters")
    for at, one in enumerate(found.cells):
        if INJECTED in tags_of(one):
            found.cells[at] = cell
            return found
    at = next((at + 1 for at, one in enumerate(found.cells) if PARAMETERS in tags_of(one)), 0)
    found.cells.insert(at, cell)
    return found


def _require_nbformat() -> None:
    if find_spec("nbformat") is None:
        raise BadArguments(f"nbformat is not installed; {install_command('jupyter')}")
