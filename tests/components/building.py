"""The component `everything`, built by componentize-py once for its sources and kept with the tests' cache."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from capabilities.sandbox.wit.bind import SOURCE as HOST

SOURCE = Path(__file__).parent / "everything"


def built(config: pytest.Config) -> bytes:
    """Its bytes. Skips where componentize-py is not there: it is in the group dev, for x86_64."""
    try:
        tool = version("componentize-py")
    except PackageNotFoundError:
        pytest.skip("componentize-py is not there: it is in the group dev, for x86_64")
    sources = [*sorted(path for path in SOURCE.iterdir() if path.suffix in (".py", ".wit")), HOST]
    name = hashlib.sha256(tool.encode() + b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    assert config.cache is not None
    kept = Path(config.cache.mkdir("components")) / f"{name}.wasm"
    if not kept.exists():
        made = kept.with_suffix(".partial")
        build(made)
        made.replace(kept)
    return kept.read_bytes()


def build(into: Path) -> None:
    """Compile it, with the host interfaces as they are in the package."""
    with tempfile.TemporaryDirectory() as directory:
        wit = Path(directory)
        (wit / "deps" / "host").mkdir(parents=True)
        (wit / "world.wit").write_text((SOURCE / "world.wit").read_text())
        (wit / "deps" / "host" / "host.wit").write_text(HOST.read_text())
        tool = Path(sys.executable).with_name("componentize-py")
        command = [str(tool), "-d", directory, "-w", "everything", "componentize", "app", "-o", str(into)]
        subprocess.run(command, cwd=SOURCE, check=True, capture_output=True)
