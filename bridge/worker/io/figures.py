"""Figures of matplotlib: `plt.show()`, `fig.show()`, and what a cell drew, as displays (specs/namespace.md, D3)."""

from __future__ import annotations

import builtins
import io
import os
import sys
from typing import Any

PYPLOT = "matplotlib.pyplot"


def adapt(pyplot: Any) -> None:
    """Replace what would open windows."""

    def show(*_args: object, **_options: object) -> None:
        """Display all open figures, and close them."""
        show_open()

    if "MPLBACKEND" in os.environ:
        return  # somebody chose where figures go
    if sys.modules["matplotlib"].rcParams._get_backend_or_none() is None:
        sys.modules["matplotlib"].use("agg", force=False)
    figure_class: Any = sys.modules["matplotlib.figure"].Figure
    pyplot.show = show
    figure_class.show = lambda figure, warn=True: _display(figure)  # noqa: ARG005  # its signature


def show_open() -> None:
    """Display what is open, and close it, as IPython does at the end of a cell."""
    pyplot: Any = sys.modules[PYPLOT]
    if "MPLBACKEND" in os.environ:
        return
    numbers = pyplot.get_fignums()
    for number in numbers:
        figure = pyplot.figure(number)
        if figure.get_axes() or figure.texts:
            _display(figure)
    if numbers:
        pyplot.close("all")


def are_open() -> bool:
    """Whether figures are open that `show_open` would display."""
    pyplot: Any = sys.modules.get(PYPLOT)
    return pyplot is not None and "MPLBACKEND" not in os.environ and bool(pyplot.get_fignums())


def pictures_of(figure: Any) -> dict[str, bytes | str]:
    """A figure as PNG and SVG; in a notebook as PNG alone, as IPython's kernel shows it."""
    found: dict[str, bytes | str] = {}
    kinds = (("image/png", "png"), ("image/svg+xml", "svg"))
    for kind, name in kinds[:1] if os.environ.get("DURABLE_NOTEBOOK") == "1" else kinds:
        into = io.BytesIO()
        figure.savefig(into, format=name, bbox_inches="tight")
        found[kind] = into.getvalue() if name == "png" else into.getvalue().decode()
    return found


def _display(figure: Any) -> None:
    builtins.display(figure)  # type: ignore[attr-defined]
