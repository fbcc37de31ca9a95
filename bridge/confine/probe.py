"""The confinement that this machine can enforce, found out by trying it in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from bridge.confine.cgroup import Means, means
from bridge.confine.confinement import Confinement
from durable.core.frozen_record import FrozenRecord

PROBE_S = 30.0
"""Seconds for a fresh interpreter on a slow day."""


class Ability(FrozenRecord, frozen=True):
    """One thing that can be asked for, whether it can be had here, and what lacks where it cannot."""

    name: str
    can: bool
    lacks: str = ""


ASKED: dict[str, dict[str, object]] = {
    "profile isolated": {"profile": "isolated", "limits": {}},
    "limits of memory, cpu and files": {"profile": "open", "limits": {"memory": 2**33, "cpu": 60, "files": 64}},
    "limits of processes and disk (isolated)": {"profile": "isolated", "limits": {"processes": 8, "disk": 2**20}},
    "limits of processes (open)": {"profile": "open", "limits": {"processes": 64}},
}

_TRY = """\
import json, sys
sys.path.insert(0, sys.argv[1])
from bridge.confine import probe
probe.main(json.loads(sys.argv[2]), sys.argv[3])
"""


def probe(python: str = sys.executable) -> tuple[Ability, ...]:
    """Try everything; takes about a quarter of a second each. Linux only: elsewhere nothing but `open` can be had."""
    return (*(_ability(name, wanted, python) for name, wanted in ASKED.items()), *_groups())


def _groups() -> tuple[Ability, ...]:
    """The bounds of a session as a whole: the kernel's control groups, or what is added up in place of them."""
    found = means() if sys.platform == "linux" else Means(0, None, None)
    kind = f"control groups, version {found.version}"
    instead = "a group below this process's own; what the session's processes hold is added up every 0.1 s instead"
    burnt = "a group below this process's own; what ends between two looks is not counted"
    return (
        Ability(f"memory of a whole session ({kind})", found.memory is not None, "" if found.memory else instead),
        Ability(f"CPU time of a whole session ({kind})", found.cpu is not None, "" if found.cpu else burnt),
    )


_GENEROUS = {"memory": 2**33, "cpu": 60, "wall": 60, "output": 2**20, "files": 64, "disk": 2**20, "processes": 64}


def can_hold(asked: Confinement) -> Ability:
    """Whether a worker can be held like this here; tried once for each kind."""
    return _can_hold(asked.profile, tuple(asked.limits.to_json()))


@cache
def _can_hold(profile: str, limits: tuple[str, ...]) -> Ability:
    wanted: dict[str, object] = {"profile": profile, "limits": {name: _GENEROUS[name] for name in limits}}
    return _ability(" with limits of ".join(filter(None, (profile, ", ".join(limits)))), wanted, sys.executable)


def _ability(name: str, wanted: dict[str, object], python: str) -> Ability:
    if sys.platform != "linux":
        return Ability(name, False, f"Linux (this is {sys.platform})")
    root = str(Path(__file__).resolve().parents[2])
    import tempfile  # each engine reads this module, and few try anything

    with tempfile.TemporaryDirectory(prefix="durable-probe-") as directory:
        arguments = [python, "-P", "-c", _TRY, root, json.dumps(wanted), directory]
        try:
            done = subprocess.run(arguments, capture_output=True, text=True, timeout=PROBE_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return Ability(name, False, str(error))
    if done.returncode == 0:
        return Ability(name, True)
    lines = (done.stdout or done.stderr).strip().splitlines() or [f"it ended with {done.returncode}"]
    return Ability(name, False, lines[-1])


def main(wanted: dict[str, object], directory: str) -> None:
    """In the process of its own: confine it; exit code 0, or 1 and what lacks as the last line."""
    from bridge.confine.apply import confine
    from durable.core.errors import Unenforceable

    try:
        confine(Confinement.read({**wanted, "directory": directory}))
    except Unenforceable as error:
        print("; ".join(error.missing), flush=True)
        os._exit(1)
    os._exit(0)
