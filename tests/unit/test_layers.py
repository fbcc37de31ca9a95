"""Imports run one way (design: the house), and nothing in the engine unpickles."""

import ast
from pathlib import Path

import pytest

from tests.tidy import sources

ROOT = Path(__file__).resolve().parents[2]

LAYERS = (
    {"durable.core"},
    {"durable.queues"},
    {"durable.records", "durable.store", "durable.lint", "checkpoint"},
    {"bridge", "capabilities", "durable.client"},
    {"durable.functions"},
    {"durable.executions", "durable.agents"},
    {"durable.sessions"},
    {"durable.sandbox"},
    {"durable.prompts"},
    {"durable.actors"},
    {"durable.engine"},
    {"durable.telemetry"},
    {"durable.http"},
    {"durable.mcp", "durable.integrations"},
    {"durable.cli", "durable.demo", "durable.testing", "durable"},
)
"""From the bottom up (specs/architecture.md): a module imports from its own layer and from those below."""

# A module of these may import from what stands here, and from nothing else of ours.
ALLOWED = {
    "durable.core": {"durable.core"},
    "bridge": {"bridge", "checkpoint", "durable.core"},
    "checkpoint": {"checkpoint", "durable.core"},
    "capabilities": {"capabilities", "durable.core"},
    "durable.records": {"durable.records", "durable.core"},
    "durable.lint": {"durable.lint", "durable.core"},
    "durable.queues": {"durable.queues", "durable.core"},
    "durable.store": {"durable.store", "durable.queues", "durable.core"},
}
WORKER_FORBIDDEN = {
    "resonate",
    "aiosqlite",
    "sqlite3",
    "durable.store",
    "durable.engine.engine",
    "durable.functions",
    "rich",
    "click",
}
OURS = ("durable", "bridge", "capabilities", "checkpoint")


def modules_of(package: str) -> list[str]:
    """The modules of a package of ours, by their dotted names."""
    return sorted(name for name in sources.modules() if within(name, {package}))


def imports(name: str) -> set[str]:
    """Whatever a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(sources.tree(sources.modules()[name])):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


def within(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def layer_of(name: str) -> int:
    """How high a module lies: the place in `LAYERS` of the longest entry that holds it."""
    entry = max((each for layer in LAYERS for each in layer if within(name, {each})), key=len)
    return next(place for place, layer in enumerate(LAYERS) if entry in layer)


@pytest.mark.parametrize("package", OURS)
def test_imports_run_one_way(package: str) -> None:
    wrong = []
    for name in modules_of(package):
        above = [each for each in sources.imported(name, typing=False) if layer_of(each) > layer_of(name)]
        narrow = next((allowed for entry, allowed in ALLOWED.items() if within(name, {entry})), None)
        if narrow is not None:
            above += [each for each in sources.imported(name) if not within(each, narrow)]
        wrong += [f"{name} imports {each}" for each in above]
    assert wrong == []


@pytest.mark.parametrize("package", OURS)
def test_only_the_worker_side_unpickles(package: str) -> None:
    may = {"checkpoint.capture.incremental_capture", "checkpoint.restore", "checkpoint.pickling", "bridge.worker"}
    unpickle = {"pickle", "cloudpickle", "dill", "marshal", "shelve"}
    others = [name for name in modules_of(package) if not within(name, may)]
    assert {name: found for name in others if (found := imports(name) & unpickle)} == {}


def test_the_worker_imports_only_what_runs_in_it() -> None:
    import subprocess
    import sys

    code = "import bridge.worker.main, sys; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert not {module for module in loaded if within(module, WORKER_FORBIDDEN)}
