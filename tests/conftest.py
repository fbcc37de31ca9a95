"""Where a store can be: the same tests on a path, on the URL of `durable serve`, and in a database."""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres_server import PostgresServer, binaries
from tests.warm_python import PYTHON, WARM_START

TOKEN = "token-of-the-tests"

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
"""The tests start thousands of processes: each would compile all its sources again."""

WARM_START.install()

settings.register_profile("loaded", deadline=None, suppress_health_check=[HealthCheck.too_slow])
if "CI" not in os.environ:  # where Hypothesis has a profile of its own
    settings.load_profile("loaded")
"""No test fails since the machine was busy."""

COLD_ZYGOTES = {"protocol", "test_set_order.py"} | {
    "test_isolation_bounds.py",
    "test_isolation_escapes.py",
    "test_isolation_sessions.py",
}
"""Folders and files of tests about how a zygote starts, and what a worker can find out about it."""


LONGEST_FIRST = ("sim", "e2e", "testing", "docs", "contract", "replay", "protocol")
"""Folders with long files begin, those with short ones end: all processes of the tests then end at about one time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the folders; within one the order stays."""

    def place(item: pytest.Item) -> int:
        return next((n for n, folder in enumerate(LONGEST_FIRST) if folder in item.path.parts), len(LONGEST_FIRST))

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Leave the thousands of tests out of all later garbage collections."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Choose how the zygotes of the test's engines start."""
    WARM_START.zygotes = not COLD_ZYGOTES & set(item.path.parts)


LOGGED_ONLY = "Exception in callback"


class _FailuresInLoops(logging.Handler):
    """Errors in callbacks, which asyncio only logs. Those of forgotten tasks are logged when they are collected, in any
    later test."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith(LOGGED_ONLY):
            self.seen.append(logging.Formatter().format(record))


@pytest.fixture(autouse=True)
def no_failure_is_only_logged() -> Iterator[None]:
    """Fail a test by an error that reached nobody but asyncio's log."""
    failures, logger = _FailuresInLoops(), logging.getLogger("asyncio")
    logger.addHandler(failures)
    try:
        yield
    finally:
        logger.removeHandler(failures)
    assert not failures.seen, "\n".join(failures.seen)


def start_server(file: Path, *options: str, store: str | None = None) -> tuple[subprocess.Popen[str], str]:
    """`durable serve` as a real process on a free port, and its URL. Its token is in DURABLE_TOKEN.

    `store`: what it serves instead of the file, which then only says where its messages go.
    """
    command = [PYTHON, "-m", "durable.cli", "--store", store or str(file), "serve", "--port", "0", *options]
    with Path(f"{file}.serve").open("ab") as said:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True)
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    assert url.startswith("http://"), Path(f"{file}.serve").read_text()
    return server, url


def end_server(server: subprocess.Popen[str]) -> int:
    """SIGTERM and its exit code: it ends cleanly whatever was connected."""
    server.terminate()
    code = server.wait(20)
    assert server.stdout is not None
    server.stdout.close()
    return code


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A database server for the tests of this process."""
    if binaries() is None:
        assert os.environ.get("CI") != "true", "PostgreSQL is not installed: .ci/run installs it"
        pytest.skip("PostgreSQL is not installed; install Debian's postgresql, or set DURABLE_TEST_POSTGRES_BIN")
    server = PostgresServer()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["path", "url", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What `durable.open` takes for the store `work.db` in `tmp_path`: its path, or the URL where it is served."""
    file = tmp_path / "work.db"
    if request.param == "postgres":
        database: PostgresServer = request.getfixturevalue("postgres_server")
        yield database.url()
        return
    if request.param == "path":
        yield str(file)
        return
    monkeypatch.setenv("DURABLE_TOKEN", TOKEN)
    server, url = start_server(file, "--lease", "1")
    try:
        yield url
    finally:
        assert end_server(server) == 0


@pytest.fixture(scope="session")
def sandbox_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled sandboxes are kept while the tests run: one place for all of their processes."""
    return _shared(tmp_path_factory) / "sandbox"


def _shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of all processes that run the tests together."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if own.name.startswith("popen-") else own


@dataclass(frozen=True)
class Node:
    """Node.js with the TypeScript SDK installed beside it, and the programs of the tests."""

    program: str
    directory: Path


NODE_PROGRAMS = Path(__file__).parent / "e2e" / "node"
NODE_PACKAGES = ["@resonatehq/sdk@0.11", "node@22"]
"""The SDK, and the Node that it needs: the machine's own may be older."""


@pytest.fixture(scope="session")
def node_js(tmp_path_factory: pytest.TempPathFactory) -> Node:
    """The TypeScript SDK, from the registry of npm."""
    if shutil.which("npm") is None:
        pytest.skip("npm is missing; install Node.js to run this")
    directory = _shared(tmp_path_factory) / "node"
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "installed").exists():
            (directory / "package.json").write_text('{"private": true, "type": "module"}')
            command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
            done = subprocess.run(
                [*command, *NODE_PACKAGES], cwd=directory, capture_output=True, text=True, timeout=110
            )
            assert done.returncode == 0, done.stdout + done.stderr
            for program in NODE_PROGRAMS.glob("*.mjs"):
                shutil.copy(program, directory)
            (directory / "installed").touch()
    return Node(str(directory / "node_modules" / "node" / "bin" / "node"), directory)


@pytest.fixture
def cached(sandbox_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sandboxes of a test, and of the processes that it begins, keep compiled code there, and are set to no backend."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(sandbox_cache))
    monkeypatch.delenv("DURABLE_SANDBOX", raising=False)
