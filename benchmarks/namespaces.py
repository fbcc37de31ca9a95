"""Large namespaces for the checkpoint benchmarks, and one small change to each."""

from __future__ import annotations

import sys
import types

SOURCES = {
    "array": """
import numpy as np
array = np.random.default_rng(0).random(25_000_000)
globals().update({f"small{n}": [n] * 10 for n in range(20)})
""",
    "frame": """
import numpy as np
import pandas as pd
frame = pd.DataFrame({
    "number": np.arange(1_000_000.0),
    "name": np.array([f"name {n * 7919 % 1_000_003}" for n in range(1_000_000)], object),
    "town": np.array([("north", "south", "east", "west")[n % 4] for n in range(1_000_000)], object),
    "mixed": np.array([n if n % 3 else f"row {n}" for n in range(1_000_000)], object),
})
globals().update({f"small{n}": [n] * 10 for n in range(20)})
""",
    "small": """
globals().update({f"small{n}": [n, {"key": n}] for n in range(1_000)})
""",
}


def fresh(case: str) -> types.ModuleType:
    """A new `__main__` that holds the namespace, as a session's worker has it."""
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(compile(SOURCES[case], "<namespace>", "exec"), module.__dict__)
    return module


CHANGE = "small7.append(1)"

ALL_CHANGED = {"array": "array += 1", "frame": "frame['number'] += 1", "small": CHANGE}
"""Code after which everything large is to be written again."""


def change(module: types.ModuleType) -> None:
    """One small change."""
    exec(CHANGE, module.__dict__)


def change_all(module: types.ModuleType, case: str) -> None:
    """Everything large is written."""
    exec(ALL_CHANGED[case], module.__dict__)
