"""Requests that schemathesis makes of the OpenAPI document, to a real `durable serve --engine` with something in its
store: no answer is a 5xx, and each has a status, a type and a body that the document says.

`python -m tests.contract.api_cases --cases 5000 [--seed N] [--database URL]`; a few of each route run with the suite.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import hypothesis
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import durable
from tests.contract.served import TOKEN
from tests.warm_python import PYTHON

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

DEPLOYMENT = "team/1"
"""Of the server: a name with a slash."""

KNOWN: dict[str, list[str]] = {
    "id": ["sum", "asks", "writes", "desk@first", "exec:asks.1:input:1", "nightly", "exec:sum"],
    "name": ["desk", "mail", "words", DEPLOYMENT],
    "which": ["1", "kept"],
    "kind": ["Cart"],
    "key": ["ana", "progress"],
    "signal": ["go"],
}
"""Names of what the store has, in place of some of those that are made up."""

PROGRAM = """
import durable


@durable.function(name="adds")
async def adds(ctx: durable.Context, first: int = 1, second: int = 1) -> int:
    return await ctx.run(sum, [first, second])


@durable.function(name="writes")
async def writes(ctx: durable.Context) -> None:
    await ctx.stream("words").write("one", "two")
    await ctx.publish(progress=1)


@durable.function(name="asks")
async def asks(ctx: durable.Context) -> int:
    return await ctx.ask("How many?", schema=int)
"""

ANSWER_S = 60.0


@contextmanager
def server(directory: Path, store: str) -> Iterator[str]:
    """A process that serves a store and runs what is begun; its URL."""
    (directory / "program.py").write_text(PROGRAM)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [PYTHON, "-m", "durable.cli", "serve", "program.py", "--store", store, "--port", str(port)]
    process = subprocess.Popen(
        command,
        cwd=directory,
        env={**os.environ, "DURABLE_TOKEN": TOKEN, "DURABLE_DEPLOYMENT": DEPLOYMENT},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url, "the server says where it is"
        yield url
    finally:
        process.terminate()
        process.wait(30)


async def fill(url: str) -> None:
    """Something of each kind."""
    async with durable.Client(url, TOKEN) as client:
        await client.start("adds", 1, id="sum")
        await client.result("sum")
        await client.start("writes", id="writes")
        await client.result("writes")
        await client.start("asks", id="asks")
        await client.session("desk")
        cell = await client.run("desk", "print('hello'); x = 1", id="first")
        await client.result(cell.id)
        await client.request("POST", "/sessions/desk/checkpoints", {"label": "kept"})
        schedule = {"id": "nightly", "cron": "@daily", "function": "adds"}
        await client.request("POST", "/schedules", schedule)
        await client.request("PATCH", "/queues/mail", {"concurrency": 1})
        await client.request("POST", "/actors/Cart/ana/messages", {"method": "add", "args": [1]})


def run_cases(url: str, cases: int, seed: int) -> Counter[int]:
    """Make at least so many requests, spread over the routes; how many were answered with which status."""
    with urllib.request.urlopen(f"{url}/api/v1/openapi.json", timeout=30) as response:
        schema = schemathesis.openapi.from_dict(json.loads(response.read()))
    operations: list[Any] = [cast(Any, found).ok() for found in schema.get_all_operations()]
    answered: Counter[int] = Counter()
    finite = [each for each in operations if not each.path.endswith(("/events", "/output/stream"))]
    pairs = [(each, mode) for each in finite for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)]
    if cases < len(pairs):
        pairs = random.Random(seed).sample(pairs, cases)
    for operation, mode in pairs:
        _run(operation, mode, url, -(-cases // len(pairs)), seed, answered)
    return answered


def _run(operation: Any, mode: Any, url: str, count: int, seed: int, answered: Counter[int]) -> None:
    chance = random.Random(f"{seed} {operation.label} {mode}")
    headers = {"authorization": f"Bearer {TOKEN}"}

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        for name in list(case.path_parameters or {}):
            if name in KNOWN and chance.random() < 0.7:
                case.path_parameters[name] = chance.choice(KNOWN[name])
        if isinstance(case.body, dict) and "function" in case.body and chance.random() < 0.5:
            case.body["function"] = chance.choice(["adds", "asks"])
        response = case.call(base_url=f"{url}/api/v1", headers=headers, timeout=ANSWER_S)
        answered[response.status_code] += 1
        case.validate_response(response, checks=CHECKS)

    try:
        ask()
    except hypothesis.errors.Unsatisfiable:
        pass  # nothing can be wrong with a request that has no parameters


def main() -> None:
    """Run the cases and say what was answered."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--database", help="a PostgreSQL URL in place of a file")
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory, server(Path(directory), given.database or "s.db") as url:
        asyncio.run(fill(url))
        answered = run_cases(url, given.cases, given.seed)
    took = time.monotonic() - began
    counts = ", ".join(f"{count} with {status}" for status, count in sorted(answered.items()))
    print(f"{answered.total()} requests in {took:.0f} s, seed {given.seed}: {counts}")


if __name__ == "__main__":
    main()
