"""Faults of a database and of the way to it, for campaigns: crashes, failover to a standby, a network that misbehaves.

Each has the URL for whoever only looks, one for each engine that starts, and does one thing at a time.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from tests.postgres_server import Bouncer, PostgresServer


class Fault(Protocol):
    """`every_s`: between two of them. `act` returns when what it does is over, with its name."""

    url: str
    every_s: float

    def engine_url(self) -> str: ...
    def act(self, dice: random.Random) -> str: ...
    def stop(self) -> None: ...


class Crash:
    """The server is killed with all its processes, and started again."""

    every_s = 5.0

    def __init__(self) -> None:
        # What was committed outlives the server's processes; it need not outlive the machine.
        self._server = PostgresServer(fast=False, fsync="off")
        self.url = self._server.url()

    def engine_url(self) -> str:
        return self.url

    def act(self, _dice: random.Random) -> str:
        self._server.kill()
        self._server.start()
        return "server killed"

    def stop(self) -> None:
        self._server.stop()


class FullDisk:
    """The disk of the server's tables is full for a while, or that of its log, which ends the server."""

    every_s = 6.0

    def __init__(self) -> None:
        log = {"wal_recycle": "off", "min_wal_size": "'2MB'", "max_wal_size": "'64MB'"}
        self._server = PostgresServer(fast=False, fsync="off", room_mib=200, **log)
        self.url = self._server.url()

    def engine_url(self) -> str:
        return self.url

    def act(self, dice: random.Random) -> str:
        filler, ended = dice.choice(self._server.disks) / "filler", self._server.said("PANIC")
        for size in (2**16, 512):
            with filler.open("ab", buffering=0) as full, suppress(OSError):
                while True:
                    full.write(bytes(size))
        time.sleep(dice.uniform(1, 8))
        filler.unlink()
        if not self._server.running:
            self._server.start()
        return "disk full" if self._server.said("PANIC") == ended else "disk full, server ended"

    def stop(self) -> None:
        self._server.stop()


class Failover:
    """The server is killed for good, its synchronous standby takes its place and gets a standby of its own.

    Commits are acknowledged when both have them; while the new standby is made, nobody is killed.
    """

    every_s = 12.0

    def __init__(self) -> None:
        self._primary = PostgresServer(fast=False, fsync="off")
        schema = self._primary.url().rpartition("=")[2]
        self._places = [Path(tempfile.mkdtemp(prefix="durable-place-", dir="/tmp")) for _ in range(2)]
        hosts = ",".join(quote(str(place / "socket"), safe="") for place in self._places)
        self.url = f"postgresql:///postgres?host={hosts}&user=postgres&target_session_attrs=read-write&schema={schema}"
        self._name(0, self._primary)
        self._turn = 0
        self._standby = self._attach()

    def engine_url(self) -> str:
        return self.url

    def act(self, _dice: random.Random) -> str:
        self._primary.kill()
        self._standby.run("pg_ctl", "-D", str(self._standby.data), "-w", "promote")
        self._standby.sql("ALTER SYSTEM SET synchronous_standby_names = ''", "SELECT pg_reload_conf()")
        self._primary.stop()
        self._primary = self._standby
        self._turn += 1
        self._standby = self._attach()
        return "failed over"

    def _name(self, place: int, server: PostgresServer) -> None:
        """Let a server be found at one of the two places of the URL."""
        link = self._places[place] / "socket"
        link.unlink(missing_ok=True)
        link.symlink_to(server.directory)

    def _attach(self) -> PostgresServer:
        """A standby of the primary, without which it acknowledges nothing from now on."""
        standby = PostgresServer.standby_of(self._primary)
        self._name((self._turn + 1) % 2, standby)
        self._primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        return standby

    def stop(self) -> None:
        for server in (self._primary, self._standby):
            server.stop()
        for place in self._places:
            shutil.rmtree(place)


class Network:
    """Each engine has a link of its own to the server, which delays, stalls, says nothing for a time, or breaks.

    Nothing reaches the other side of a link that says nothing, and nobody is told: as in a partition. A stall stands
    for lost packets, which TCP sends again after a while.
    """

    every_s = 2.0
    LINKS = 3
    PARTITION_S = (3.0, 16.0)
    """Shorter than an engine's lease (10 s), and longer."""

    def __init__(self) -> None:
        self._server = PostgresServer(fast=False, fsync="off")
        self.url = self._server.url()
        self._links = [Link(self._server.directory) for _ in range(self.LINKS)]
        self._turn = 0

    def engine_url(self) -> str:
        self._turn += 1
        link = self._links[self._turn % self.LINKS]
        return self.url.replace(quote(str(self._server.directory), safe=""), quote(str(link.directory), safe=""))

    def act(self, dice: random.Random) -> str:
        link = dice.choice(self._links)
        what = dice.choices(("delayed", "lossy", "cut", "partitioned"), (3, 3, 2, 2))[0]
        if what == "delayed":
            link.for_a_while(dice.uniform(1, 3), delay_s=dice.uniform(0.005, 0.2))
        elif what == "lossy":
            link.for_a_while(dice.uniform(1, 3), loss=0.05)
        elif what == "cut":
            link.cut()
        else:
            link.for_a_while(dice.uniform(*self.PARTITION_S), silent=True)
        return f"link {what}"

    def stop(self) -> None:
        for link in self._links:
            link.close()
        self._server.stop()


class Pooler:
    """PgBouncer in transaction mode stands before the server: either of them is killed and started again."""

    every_s = 3.0

    def __init__(self) -> None:
        self._server = PostgresServer(fast=False, fsync="off")
        self._bouncer = Bouncer(self._server.directory, default_pool_size="4", server_login_retry="1")
        self.url = self._server.url()
        self._through = self._bouncer.url(self.url)

    def engine_url(self) -> str:
        return self._through

    def act(self, dice: random.Random) -> str:
        if dice.random() < 0.5:
            self._bouncer.kill()
            self._bouncer.start()
            return "pooler killed"
        self._server.kill()
        self._server.start()
        return "server killed"

    def stop(self) -> None:
        self._bouncer.stop()
        self._server.stop()


RETRANSMISSION_S = 0.2
"""A lost packet of TCP is sent again after about so long."""


class Link:
    """A socket before a server's, on a thread of its own."""

    def __init__(self, server: Path) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="durable-link-", dir="/tmp"))
        self._server = server / ".s.PGSQL.5432"
        self._delay_s = self._loss = 0.0
        self._dice = random.Random(0)
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._speaks = asyncio.Event()
        self._speaks.set()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready.set,))
        self._thread.start()
        ready.wait()

    def for_a_while(self, seconds: float, *, delay_s: float = 0.0, loss: float = 0.0, silent: bool = False) -> None:
        """Misbehave for so long, and return after that."""
        self._delay_s, self._loss = delay_s, loss
        if silent:
            self._loop.call_soon_threadsafe(self._speaks.clear)
        threading.Event().wait(seconds)
        self._delay_s = self._loss = 0.0
        self._loop.call_soon_threadsafe(self._speaks.set)

    def cut(self) -> None:
        """End all connections."""
        self._loop.call_soon_threadsafe(self._abort)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        shutil.rmtree(self.directory)

    def _abort(self) -> None:
        for writer in [*self._writers]:
            writer.transport.abort()

    def _run(self, ready: Callable[[], None]) -> None:
        asyncio.set_event_loop(self._loop)
        path = str(self.directory / ".s.PGSQL.5432")
        server = self._loop.run_until_complete(asyncio.start_unix_server(self._connect, path))
        ready()
        self._loop.run_forever()
        server.close()
        self._abort()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.05))
        self._loop.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._speaks.wait()
        try:
            there, back = await asyncio.open_unix_connection(str(self._server))
        except OSError:
            writer.transport.abort()
            return
        both = {writer, back}
        self._writers |= both
        try:
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._forward(reader, back))
                directions.create_task(self._forward(there, writer))
        finally:
            self._writers -= both
            for each in both:
                each.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(2**16):
                if self._loss and self._dice.random() < self._loss:
                    await asyncio.sleep(RETRANSMISSION_S)
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                await self._speaks.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


FAULTS: dict[str, Callable[[], Fault]] = {
    "crash": Crash,
    "disk": FullDisk,
    "failover": Failover,
    "network": Network,
    "pooler": Pooler,
}
