"""Ten thousand connections that mean no good, and one client that works: `python -m tests.contract.connections`.

`durable serve` is a process of its own. The crowd connects and says nothing, sends its headers byte by byte, declares
an enormous body, sends one, shows a wrong token, or asks and never reads. Meanwhile a client makes and settles
promises, and another asks over a new connection each time. Exit code 1 when either fails, the server ends, or its
memory grows beyond the limit.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from durable.store.remote.store import RemoteStore
from tests.conftest import TOKEN, end_server, start_server

DESCRIPTORS_SPARE = 200
GROWTH_MIB_MAX = 600
"""The server's memory over what it had: all bodies together may be 512 MiB (BODIES_BYTES_MAX), the rest is little."""
ANSWER_S = 30.0


def _head(*lines: str, token: str = TOKEN) -> bytes:
    return "\r\n".join(("POST / HTTP/1.1", "host: x", f"authorization: Bearer {token}", *lines, "", "")).encode()


def _silent() -> list[bytes]:
    return []


def _slow() -> list[bytes]:
    return [_head()[n : n + 1] for n in range(60)]


def _enormous() -> list[bytes]:
    return [_head(f"content-length: {10 * 2**30}"), b"x" * 1000]


def _endless() -> list[bytes]:
    chunk = b"10000\r\n" + b"x" * 2**16 + b"\r\n"
    return [_head("transfer-encoding: chunked"), *[chunk] * 600]


def _wrong() -> list[bytes]:
    body = b'{"kind": "promise.get", "data": {"id": "a"}}'
    return [_head(f"content-length: {len(body)}", token="x") + body]


def _unread() -> list[bytes]:
    body = b'{"kind": "promise.get", "data": {"id": "big"}}'
    return [(_head(f"content-length: {len(body)}") + body) * 20]


CROWD: dict[str, tuple[Callable[[], list[bytes]], float]] = {
    "says nothing": (_silent, 0.80),
    "headers byte by byte": (_slow, 0.10),
    "declares 10 GiB": (_enormous, 0.02),
    "sends 37 MiB": (_endless, 0.005),
    "a wrong token": (_wrong, 0.05),
    "never reads": (_unread, 0.025),
}
"""What each kind sends, piece by piece, and its part of the whole."""


@dataclass(slots=True)
class Seen:
    """What came of it."""

    ends: Counter[str] = field(default_factory=Counter)
    answers: list[float] = field(default_factory=list)
    fresh: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


async def _one(kind: str, host: str, port: int, leave: asyncio.Event, connected: asyncio.Semaphore, seen: Seen) -> None:
    pieces, _ = CROWD[kind]
    async with connected:
        try:
            reader, writer = await asyncio.open_connection(host, port)
        except OSError as error:
            seen.ends[f"{kind}: {type(error).__name__} at connecting"] += 1
            return
    said = b""
    try:
        for piece in pieces():
            writer.write(piece)
            await writer.drain()
            if kind == "headers byte by byte":
                await asyncio.sleep(0.5)
        if kind == "never reads":
            await leave.wait()
        else:
            said = await reader.read(64)
        end = said.partition(b"\r\n")[0].decode("latin-1") or ("stayed" if kind == "never reads" else "dropped")
    except OSError:
        end = "dropped"
    seen.ends[f"{kind}: {end}"] += 1
    await leave.wait()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _works(url: str, done: asyncio.Event, seen: Seen) -> None:
    """Our own client: it keeps its connections, and comes back when they are taken from it."""
    store = await RemoteStore.open(url, token=TOKEN)
    n = 0
    try:
        while not done.is_set():
            n += 1
            began = time.monotonic()
            try:
                async with asyncio.timeout(ANSWER_S):
                    await store.request("promise.create", {"id": f"p{n}", "timeoutAt": 2**50})
                    await store.request("promise.settle", {"id": f"p{n}", "state": "resolved"})
            except Exception as error:
                seen.failures.append(f"request {n}: {error!r}")
                return
            seen.answers.append((time.monotonic() - began) / 2)
            await asyncio.sleep(0.01)
    finally:
        await store.close()


async def _comes_anew(url: str, done: asyncio.Event, seen: Seen) -> None:
    """Somebody who connects for each request."""
    while not done.is_set():
        began = time.monotonic()
        try:
            timeout = aiohttp.ClientTimeout(total=ANSWER_S)
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{url}/ready") as response:
                if response.status != 200:
                    seen.failures.append(f"/ready: {response.status}")
        except Exception as error:
            seen.failures.append(f"/ready: {error!r}")
        seen.fresh.append(time.monotonic() - began)
        await asyncio.sleep(0.1)


async def _crowd(url: str, count: int, hold_s: float, seen: Seen) -> None:
    host, port = url.removeprefix("http://").split(":")
    kinds = [kind for kind, (_, part) in CROWD.items() for _ in range(round(count * part))]
    order = [kinds[(n * 7919) % len(kinds)] for n in range(len(kinds))]  # a prime: all kinds are mixed
    done, leave = asyncio.Event(), asyncio.Event()
    work = [asyncio.create_task(each(url, done, seen)) for each in (_works, _comes_anew)]
    connected = asyncio.Semaphore(500)
    crowd = [asyncio.create_task(_one(kind, host, int(port), leave, connected, seen)) for kind in order]
    await asyncio.sleep(hold_s)
    leave.set()
    _, late = await asyncio.wait(crowd, timeout=60)
    for task in late:
        task.cancel()
    done.set()
    await asyncio.gather(*work)


def _memory_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def run(count: int, hold_s: float) -> int:
    """Run it; the exit code."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + DESCRIPTORS_SPARE
    if hard != resource.RLIM_INFINITY and hard < wanted:
        print(
            f"this process may open {hard} files, {wanted} are needed: raise the limit or give --count", file=sys.stderr
        )
        return 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    os.environ["DURABLE_TOKEN"] = TOKEN
    seen = Seen()
    with tempfile.TemporaryDirectory() as folder:
        server, url = start_server(Path(folder) / "work.db")
        try:
            asyncio.run(_make_big(url))
            before = _memory_mib(server.pid)
            asyncio.run(_crowd(url, count, hold_s, seen))
            after = _memory_mib(server.pid) if server.poll() is None else 0.0
        finally:
            code = end_server(server)
    for end, number in sorted(seen.ends.items()):
        print(f"{number:7d}  {end}")
    for what, found in (("answer to our client", seen.answers), ("a new connection's answer", seen.fresh)):
        ordered = sorted(found) or [0.0]
        p99 = ordered[int(len(ordered) * 0.99)]
        print(
            f"{what}: {len(found)}, p50 {statistics.median(ordered) * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, "
            f"longest {ordered[-1] * 1e3:.0f} ms"
        )
    print(f"server: {before:.0f} MiB before, {after:.0f} MiB after; ended with {code}")
    for failure in seen.failures[:20]:
        print(failure, file=sys.stderr)
    good = not seen.failures and code == 0 and seen.answers and 0 < after < before + GROWTH_MIB_MAX
    return 0 if good else 1


async def _make_big(url: str) -> None:
    store = await RemoteStore.open(url, token=TOKEN)
    await store.request("promise.create", {"id": "big", "timeoutAt": 2**50, "param": {"data": "x" * 2**18}})
    await store.close()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="connections")
    parser.add_argument("--hold", type=float, default=45.0, metavar="S", help="how long they stay")
    options = parser.parse_args()
    return run(options.count, options.hold)


if __name__ == "__main__":
    sys.exit(main())
