"""Compare the store with the oracle: `python -m tests.contract.run --seed N --operations M`.

Exit code 1 on a difference, which is told with its seed.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import itertools
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path

from durable.core.errors import StoreError, StoreRefused
from durable.store.port import StoreFace
from tests.postgres_server import PostgresServer

from .compare import Difference, Opening, SetClock, Subject, compare
from .opened import PLACES, Places, open_at
from .oracle import Answer
from .stream import Coverage
from .wire import Json

EVERY = 25
"""Operations between two comparisons of the whole state."""


BURST = 8
"""Operations on their way at a time, so that one commit holds several, refused ones among them."""


class StoreSubject:
    """A store, its refusals turned into answers; what it should have refused and failed at is a 500."""

    def __init__(self, store: StoreFace) -> None:
        self._store = store

    async def request(self, kind: str, data: Json) -> Answer:
        try:
            answer = await self._store.request(kind, data)
        except StoreRefused as refusal:
            return refusal.status, refusal.message
        except (StoreError, ValueError) as failure:
            return 500, str(failure)
        return answer.status, dict(answer.data)

    async def connect(self, receive: Callable[[str, str], None]) -> None:
        for engine in ("p1", "p2"):
            connection = self._store.connect(engine, "g")
            connection.recv(functools.partial(receive, connection.unicast()))
            await connection.start()


def opening_in(directory: Path) -> Opening:
    """Opens new stores in a directory, each in a file of its own."""
    numbers = itertools.count()

    @asynccontextmanager
    async def opening(clock: SetClock) -> AsyncIterator[Subject]:
        store = await open_at(directory / f"{next(numbers)}.db", clock=clock, debug=True)
        try:
            yield StoreSubject(store)
        finally:
            await store.close()

    return opening


async def run(directory: Path, seed: int, operations: int, every: int = EVERY) -> Coverage:
    """Run one stream on a new store in a directory. Raises Difference."""
    return await compare(opening_in(directory), seed, operations, every, burst=BURST)


@contextmanager
def database() -> Iterator[None]:
    """Stores are schemas of a server of its own."""
    server = PostgresServer()
    PLACES.append(Places(server))
    try:
        yield
    finally:
        PLACES.pop()
        server.stop()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.contract.run", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="default: a random one, printed")
    parser.add_argument("--operations", type=int, default=20_000)
    parser.add_argument("--every", type=int, default=EVERY, help="operations between comparisons of the whole state")
    parser.add_argument("--reasons", action="store_true", help="print how often each answer was given")
    parser.add_argument("--postgres", action="store_true", help="in a database, of a server of its own")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(2**32)
    print(f"seed {seed}", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as directory, database() if options.postgres else nullcontext():
        try:
            coverage = asyncio.run(run(Path(directory), seed, options.operations, options.every))
        except Difference as difference:
            print(difference, file=sys.stderr)
            return 1
    print(f"{options.operations} operations without a difference in {time.monotonic() - started:.1f} s")
    if options.reasons:
        for (kind, status, reason), count in sorted(coverage.reached.items()):
            print(f"{count:8d}  {kind} {status} {reason}")
    for kind, status in coverage.missing():
        print(f"not reached: {kind} {status}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
