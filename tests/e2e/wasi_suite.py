"""`python -m tests.e2e.wasi_suite FOLDER`: the modules of wasi-testsuite for preview 1, by `engine.sandbox.run`.

FOLDER: a checkout of the branch prod/testsuite-base of WebAssembly/wasi-testsuite, where the modules are built. Each is
given the arguments, the environment and the directory that its specification names, a copy of its own; its exit status
and what it prints have to be as specified (its doc/specification.md). Exits with 1 when one is not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import durable

VERSION = "wasm32-wasip1"
LIMITS = durable.SandboxLimits(memory=256 * 2**20, fuel=None, timeout_ms=60_000)


@dataclass(frozen=True, slots=True)
class Case:
    """A module and what is specified of it."""

    module: Path
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    root: Path | None = None
    exit_code: int = 0
    stdout: str | None = None
    stderr: str | None = None

    @classmethod
    def read(cls, module: Path) -> Case:
        """With its specification, which is beside it where it is not the usual one."""
        beside = module.with_suffix(".json")
        about: dict[str, Any] = json.loads(beside.read_text()) if beside.exists() else {}
        root = about.pop("root", None)
        return cls(module, tuple(about.pop("args", ())), root=root and module.parent / root, **about)


def cases(folder: Path) -> list[Case]:
    """All that are for preview 1."""
    return [Case.read(module) for module in sorted(folder.rglob("*.wasm")) if module.parent.name == VERSION]


async def problem(engine: durable.Engine, case: Case) -> str:
    """What is not as specified; "" when all is."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "root"
        if case.root is not None:
            shutil.copytree(case.root, root, symlinks=True)
        status, stdout, stderr = 0, "", ""
        try:
            ran = await engine.sandbox.run(
                case.module.read_bytes(),
                limits=LIMITS,
                args=case.args,
                env=case.env,
                directories=None if case.root is None else {"/": (root, "rw")},
            )
            stdout, stderr = ran.stdout, ran.stderr
        except durable.ComponentExited as error:
            status, (stdout, stderr) = error.status, error.printed
        except durable.SandboxError as error:
            return f"{type(error).__name__}: {error}; it printed {error.printed}"
    found = {"exit_code": status, "stdout": stdout, "stderr": stderr}
    wrong = [f"{name} {found[name]!r} instead of {getattr(case, name)!r}" for name in found
             if getattr(case, name) is not None and found[name] != getattr(case, name)]  # fmt: skip
    return "; ".join([*wrong, stderr]) if wrong else ""


async def suite(folder: Path) -> dict[str, str]:
    """Of each module what is not as specified."""
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as place:
        async with durable.open(Path(place) / "work.db") as engine:
            for case in cases(folder):
                found[str(case.module.relative_to(folder))] = await problem(engine, case)
    return found


def main() -> int:
    """All of them, and those that are not as specified."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    found = asyncio.run(suite(parser.parse_args().folder))
    for name, wrong in found.items():
        if wrong:
            print(f"{name}: {wrong}")
    passed = sum(not wrong for wrong in found.values())
    print(f"{passed} of {len(found)} are as specified")
    return int(passed < len(found) or not found)


if __name__ == "__main__":
    sys.exit(main())
