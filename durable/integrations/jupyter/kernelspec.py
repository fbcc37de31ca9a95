"""The kernelspec: what Jupyter reads to start the kernel (specs/jupyter.md, Installing)."""

from __future__ import annotations

import json
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from durable.core.errors import BadArguments
from durable.core.extras import install_command

KERNEL = "durable"
"""The name by which `jupyter` and nbclient find it."""


_STARTER = """\
test -n "$PYTHONHASHSEED" || export PYTHONHASHSEED=0 DURABLE_SETS_HASH_SEED=1
test -x "$0" && exec "$0" "$@"
echo "The environment of this kernel is gone: there is no $0. Install the kernel again, from the environment that is\
 used now: durable jupyter install" >&2
exit 127
"""
"""Starts the kernel's Python, with the hash seed of workers (specs/zygote.md, Z9), which are forks of it; or says why
that cannot be. Jupyter's own error would only name a file."""


def missing() -> str:
    """The package that is not installed and how to get it; empty when all is there."""
    return "" if find_spec("zmq") is not None else f"pyzmq is not installed; {install_command('jupyter')}"


def kernelspec(store: str | None, profile: str | None, display_name: str) -> dict[str, Any]:
    """The contents of `kernel.json`, for this Python."""
    options = [*(["--store", store] if store else []), *(["--profile", profile] if profile else [])]
    module = "durable.integrations.jupyter"
    return {
        "argv": ["/bin/sh", "-c", _STARTER, sys.executable, "-P", "-m", module, "-f", "{connection_file}", *options],
        "display_name": display_name,
        "language": "python",
        "interrupt_mode": "message",
        "metadata": {"debugger": False},
    }


def user_directory() -> Path:
    """Where Jupyter looks for what a user has installed."""
    data = os.environ.get("JUPYTER_DATA_DIR")
    if data:
        return Path(data)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Jupyter"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "jupyter"


def install(directory: Path, spec: dict[str, Any], name: str = KERNEL) -> Path:
    """Write the kernelspec below Jupyter's data directory; its directory. BadArguments, OSError."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise BadArguments(f"{name!r}: a kernel's name is letters, digits, '.', '_' and '-'")
    place = directory / "kernels" / name
    place.mkdir(parents=True, exist_ok=True)
    part = place / "kernel.json.part"
    part.write_text(json.dumps(spec, indent=1) + "\n", encoding="utf-8")
    part.replace(place / "kernel.json")
    return place
