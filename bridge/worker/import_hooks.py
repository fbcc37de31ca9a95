"""Modules of others that the worker adapts once user code has imported them: a finder in `sys.meta_path`."""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import sys
from collections.abc import Callable
from typing import Any

ADAPTED = {"matplotlib.pyplot": "bridge.worker.io.figures", "multiprocessing.spawn": "bridge.worker.spawned_children"}
"""Modules to adapt, and the modules whose `adapt(module)` is called for each."""

NOTEBOOK = "DURABLE_NOTEBOOK"
"""The variable of the environment that says that cells are shown in a notebook (specs/jupyter.md, IPython)."""

OF_NOTEBOOKS = {
    "comm": "bridge.worker.notebook.widget_comms",
    "IPython.core.getipython": "bridge.worker.notebook.ipython_shell",
    "IPython.core.display_functions": "bridge.worker.notebook.ipython_shell",
}
"""Modules that are adapted only there."""


class Finder:
    """In `sys.meta_path`: finds the adapted modules as Python does, all others not at all."""

    @staticmethod
    def find_spec(fullname: str, path: Any = None, target: Any = None) -> Any:
        """The spec of an adapted module; None leaves others to the other finders."""
        if fullname not in ADAPTED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            _adapt(fullname, module)

        loader.exec_module = exec_module
        return spec


def install(count: Callable[[], int]) -> None:
    """Adapt what is loaded, and what will be. count: the number of the cell that runs."""
    if os.environ.get(NOTEBOOK) == "1":
        ADAPTED.update(OF_NOTEBOOKS)
        importlib.import_module("bridge.worker.notebook.ipython_shell").install(count)
    sys.meta_path.insert(0, Finder)
    for name in ADAPTED:
        if name in sys.modules:
            _adapt(name, sys.modules[name])


def _adapt(name: str, module: Any) -> None:
    importlib.import_module(ADAPTED[name]).adapt(module)
