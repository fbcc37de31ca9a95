"""Where the peers are installed: an environment of their own, made by the benchmark, outside the project.

`python/` is a virtual environment with what requirements.txt lists, and nothing of ours; `apart/` what cannot be
installed beside them; `npm/` holds Restate's server. What cannot be had is left out: its contender then says why it
could not start.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
REQUIREMENTS = Path(__file__).parent / "requirements.txt"
"""No dependency group of the project's: whoever runs the project would look up versions of all the peers first."""
RESTATE_SERVER = "@restatedev/restate-server@1.7.12"
QUICKJS_NG = "quickjs-ng==0.17.0.2"
"""The engine that is ours as WebAssembly, in its version, as native code. Its module is called as that of `quickjs`;
both are built here, by the same compiler with the same options."""
INSTALL_S = 600

type Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Peers:
    """The peers' Python, Restate's server, and a directory of what is imported from there only. `missing` says what
    could not be had, and why."""

    python: Path
    restate_server: Path
    missing: dict[str, str]
    apart: Path = Path()


def requirements(file: Path = REQUIREMENTS) -> list[str]:
    """The peers, as pip takes them."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [line for line in lines if line and not line.startswith("#")]


def obtain(directory: Path, say: Say, *, restate: bool, apart: bool = False) -> Peers:
    """Install what is not yet there, Restate's large server and what is kept apart only when asked. Never raises for
    what cannot be had."""
    missing: dict[str, str] = {}
    python = directory / "python" / "bin" / "python"
    wanted = requirements()
    stamp = directory / "python" / "installed.txt"
    if not stamp.exists() or stamp.read_text().splitlines() != wanted:
        say(f"installing the peers into {directory / 'python'}")
        _install(python, wanted, missing)
        if not missing:
            stamp.write_text("\n".join(wanted))
    server = _restate_server(directory / "npm", say, missing) if restate else directory / "restate-server"
    if apart:
        _install_apart(python, directory / "apart", say, missing)
    return Peers(python, server, missing, directory / "apart")


def _install(python: Path, wanted: list[str], missing: dict[str, str]) -> None:
    if not wanted:
        missing["python peers"] = "there is no list of them in benchmarks/requirements.txt"
        return
    if not python.exists():
        _run([sys.executable, "-m", "venv", str(python.parent.parent)], "environment", missing)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if _run([*pip, *wanted], "all at once", {}):
        return
    for requirement in wanted:  # one that cannot be had must not take the others with it
        _run([*pip, requirement], requirement, missing)


def _install_apart(python: Path, directory: Path, say: Say, missing: dict[str, str]) -> None:
    stamp = directory / "installed.txt"
    if stamp.exists() and stamp.read_text() == QUICKJS_NG:
        return
    say(f"building {QUICKJS_NG} in {directory}")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--upgrade", "--target", str(directory), "--no-binary", QUICKJS_NG.partition("==")[0]]
    if _run([*pip, *options, QUICKJS_NG], QUICKJS_NG, missing):
        stamp.write_text(QUICKJS_NG)


def _restate_server(directory: Path, say: Say, missing: dict[str, str]) -> Path:
    name = RESTATE_SERVER.rpartition("@")[0]
    found = sorted(directory.glob(f"node_modules/{name}-*/bin/restate-server"))
    stamp = directory / "installed.txt"
    if found and stamp.exists() and stamp.read_text() == RESTATE_SERVER:
        return found[0]
    npm = shutil.which("npm")
    if npm is None:
        missing["restate-server"] = "npm is not on this machine"
        return directory / "restate-server"
    say(f"installing {RESTATE_SERVER} into {directory}")
    directory.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--prefix", str(directory), "--ignore-scripts", "--no-audit", "--no-fund"]
    if _run([*command, RESTATE_SERVER], "restate-server", missing):
        found = sorted(directory.glob(f"node_modules/{name}-*/bin/restate-server"))
        if found:
            stamp.write_text(RESTATE_SERVER)
            return found[0]
        missing["restate-server"] = f"{RESTATE_SERVER} has no program for this kind of machine"
    return directory / "restate-server"


def _run(command: list[str], what: str, missing: dict[str, str]) -> bool:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=INSTALL_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        missing[what] = str(error)
        return False
    if done.returncode:
        missing[what] = (done.stderr.strip().splitlines() or ["failed"])[-1]
    return not done.returncode
