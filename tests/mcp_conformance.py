"""Runs the conformance suite of the protocol against our server: `python -m tests.mcp_conformance`. Needs npm.

Scenarios for tools of the suite's own, and for what is not offered (specs/mcp.md), are left out. Some of those that run
also want such tools; which checks may then fail is listed with each.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

import durable
from durable.http.serve import listen
from durable.mcp.http_transport import serving_mcp
from durable.mcp.server import mcp_server
from durable.mcp.tool_host import McpOptions

PACKAGES = ("@modelcontextprotocol/conformance@0.2.0-alpha.12", "node@22")

OLDER = "2025-11-25"
NEWER = "2026-07-28"

SCENARIOS: dict[str, dict[str, set[str]]] = {
    OLDER: {
        "server-initialize": set(),
        "server-session-lifecycle": set(),
        "ping": set(),
        "tools-list": set(),
        "resources-list": set(),
        "dns-rebinding-protection": set(),
        "server-sse-multiple-streams": set(),
    },
    NEWER: {
        "server-stateless": {
            "sep-2575-server-rejects-undeclared-capability",
            "sep-2575-missing-capability-http-400",
            "sep-2575-http-server-no-independent-requests-on-stream",
            "sep-2575-server-no-log-without-loglevel",
        },
        "tools-list": set(),
        "resources-list": set(),
        "sep-2164-resource-not-found": set(),
        "dns-rebinding-protection": set(),
        "server-sse-multiple-streams": set(),
        "http-header-validation": set(),
        "caching": {"sep-2549-prompts-list-caching-hints"},
        "input-required-result-unsupported-methods": set(),
    },
}
"""Of each revision the scenarios, each with the checks that need a tool of the suite's own, or prompts."""


async def run(scenario: str, revision: str, url: str, packages: Path) -> tuple[int, list[str]]:
    """How many checks of a scenario passed, and what failed."""
    with tempfile.TemporaryDirectory() as results:
        process = await asyncio.create_subprocess_exec(
            str(packages / "node_modules/node/bin/node"),
            str(packages / "node_modules/@modelcontextprotocol/conformance/dist/index.js"),
            *("server", "--url", url, "--scenario", scenario, "--spec-version", revision, "-o", results),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        files = list(Path(results).rglob("checks.json"))
        if not files:
            return 0, [f"it did not run: {said.decode()[-500:]}"]
        checks = json.loads(files[0].read_text())
    failed = [
        f"{each['id']}: {each.get('errorMessage')}"
        for each in checks
        if each["status"] == "FAILURE" and each["id"] not in SCENARIOS[revision][scenario]
    ]
    return sum(each["status"] == "SUCCESS" for each in checks), failed


async def main() -> int:
    """Install the suite into a directory of its own, serve, run."""
    passed, failed = 0, 0
    with tempfile.TemporaryDirectory() as directory:
        packages = Path(directory)
        (packages / "package.json").write_text("{}")
        installing = await asyncio.create_subprocess_exec("npm", "install", "--silent", *PACKAGES, cwd=packages)
        assert await installing.wait() == 0, "npm could not install the suite"
        with listen("127.0.0.1", 0) as sock:
            async with (
                durable.open(packages / "work.db") as engine,
                mcp_server(engine, McpOptions(profile="open")) as server,
                serving_mcp(server, sock, None) as url,
            ):
                for revision, scenarios in SCENARIOS.items():
                    for scenario in scenarios:
                        good, faults = await run(scenario, revision, url, packages)
                        passed, failed = passed + good, failed + len(faults)
                        print(f"{revision} {scenario}: {good} passed" + "".join(f"\n  {each}" for each in faults))
    print(f"{passed} checks passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
