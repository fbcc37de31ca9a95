"""Components in Python, built by componentize-py once for their sources and kept with the tests' cache."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from capabilities.sandbox.wit.bind import SOURCE as HOST

SOURCES = Path(__file__).parent


def built(config: pytest.Config, world: str = "everything") -> bytes:
    """The one in the folder of its world's name. Skips where componentize-py, of the group dev, is not there."""
    try:
        tool = version("componentize-py")
    except PackageNotFoundError:
        pytest.skip("componentize-py is not there: it is in the group dev, for x86_64")
    folder = SOURCES / world
    sources = [*sorted(path for path in folder.iterdir() if path.suffix in (".py", ".wit")), HOST]
    name = hashlib.sha256(tool.encode() + b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    assert config.cache is not None
    kept = Path(config.cache.mkdir("components")) / f"{name}.wasm"
    if not kept.exists():
        made = kept.with_suffix(".partial")
        build(folder, made)
        made.replace(kept)
    return kept.read_bytes()


def build(folder: Path, into: Path) -> None:
    """Compile it, with the host interfaces as they are in the package."""
    with tempfile.TemporaryDirectory() as directory:
        wit = Path(directory)
        (wit / "deps" / "host").mkdir(parents=True)
        (wit / "world.wit").write_text((folder / "world.wit").read_text())
        (wit / "deps" / "host" / "host.wit").write_text(HOST.read_text())
        tool = Path(sys.executable).with_name("componentize-py")
        command = [str(tool), "-d", directory, "-w", folder.name, "componentize", "app", "-o", str(into)]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
