"""nbclient and papermill with the kernel: outputs as with ipykernel, cell by cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOKS = {
    "pandas": [
        "import pandas as pd\nframe = pd.DataFrame({'city': ['Ulm', 'Bonn'], 'n': [3, 5]})\nframe",
        "frame.groupby('city').n.sum()",
        "frame.assign(m=frame.n * 2).describe().loc['mean'].to_dict()",
    ],
    "plots": ["import plotly.graph_objects as go\ngo.Figure(go.Bar(x=[1, 2], y=[3, 4])).to_dict()['data'][0]['type']"],
    "sklearn": [
        "from sklearn.linear_model import LinearRegression\nmodel = LinearRegression().fit([[0], [1], [2]], [1, 3, 5])",
        "model.predict([[3]]).round(3).tolist()",
    ],
    "asyncio": [
        "import asyncio\nasync def twice(n):\n    await asyncio.sleep(0)\n    return 2 * n",
        "await asyncio.gather(twice(1), twice(2))",
        "task = asyncio.create_task(twice(21))",
        "await task",
    ],
    "displays": [
        "from IPython.display import HTML, Markdown, display, update_display, clear_output",
        "display(HTML('<b>a</b>'), Markdown('*b*'))",
        "handle = display('first', display_id='one')\nhandle.update('second')",
        "print('gone')\nclear_output()\nprint('stays')",
        "update_display('third', display_id='one')",
    ],
    "habits": [
        "!echo from a shell",
        "files = !printf 'a\\nb'\nlist(files)",
        "5;",
        "import sys\nprint('err', file=sys.stderr)",
    ],
}


def shown(notebook: Any) -> list[list[Any]]:
    """The outputs of each cell, without what differs from one run to another."""
    for output in (output for cell in notebook.cells for output in cell.outputs):
        if "text" in output:
            output["text"] = output["text"].replace("\r\n", "\n")  # ipykernel gives shells a terminal
    return [[dict(output) for output in cell.outputs] for cell in notebook.cells]


def run(kernel: str, sources: list[str], place: Path) -> Any:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(notebook, kernel_name=kernel, timeout=60, resources={"metadata": {"path": str(place)}}).execute()
    return notebook


def test_ordinary_notebooks_show_the_same_as_under_ipykernel(tmp_path: Path) -> None:
    """All in one notebook, so that each kernel starts once."""
    sources = [source for sources in NOTEBOOKS.values() for source in sources]
    ours, theirs = (shown(run(kernel, sources, tmp_path)) for kernel in ("durable", "python3"))
    assert [at for at in range(len(sources)) if ours[at] != theirs[at]] == [], "\n".join(
        f"{source}\n{mine}\n{other}" for source, mine, other in zip(sources, ours, theirs, strict=True) if mine != other
    )


def test_nbclient_raises_what_a_cell_raises(tmp_path: Path) -> None:
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        run("durable", ["1 / 0", "never"], tmp_path)


def test_papermill_runs_with_parameters(tmp_path: Path) -> None:
    cells = [
        nbformat.v4.new_code_cell("n = 1", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("print(n * 2)"),
    ]
    metadata = {"language_info": {"name": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), tmp_path / "in.ipynb")
    done = papermill.execute_notebook(
        tmp_path / "in.ipynb", tmp_path / "out.ipynb", {"n": 21}, kernel_name="durable", progress_bar=False
    )
    assert done.cells[-1].outputs[0]["text"] == "42\n"
