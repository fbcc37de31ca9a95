"""The kernel under real front ends. They are heavy, so `uv run pytest` does not install them and collects none of this:

    uv run --extra jupyter --group jupyter pytest -W default tests/jupyter

The warnings are those of Jupyter's packages.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

collect_ignore_glob = [] if find_spec("jupyter_kernel_test") is not None else ["test_*.py"]


@pytest.fixture(scope="session", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kernel `durable`, where only these tests' front ends see it."""
    place = tmp_path_factory.mktemp("jupyter")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_DATA_DIR", str(place / "data"))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(place / "runtime"))
        patch.setenv("IPYTHONDIR", str(place / "ipython"))
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
        patch.setenv("DURABLE_STORE", str(place / "state.db"))
        patch.delenv("JPY_SESSION_NAME", raising=False)
        command = [sys.executable, "-m", "durable.cli", "jupyter", "install", "--user"]
        subprocess.run(command, check=True, capture_output=True)
        yield place
