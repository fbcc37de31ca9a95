"""A PostgreSQL server of the tests' own, on a socket in a directory of its own; a fresh schema for each store."""

from __future__ import annotations

import glob
import itertools
import os
import pwd
import select
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg.rows import dict_row

from durable.store.postgres.address import address_of

_numbers = itertools.count()

BOUNCER = "DURABLE_TEST_PGBOUNCER"
"""Set: stores are reached through PgBouncer in transaction mode."""

_PROGRAMS = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
"""Where Debian puts a server's program is not on everybody's path."""

_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
"""For tests that no power cut is part of."""


def binaries() -> Path | None:
    """The directory of initdb and postgres; None where there is none. DURABLE_TEST_POSTGRES_BIN names another one."""
    named = os.environ.get("DURABLE_TEST_POSTGRES_BIN")
    found = shutil.which("initdb")
    places = [named] if named else sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)
    if not named and found is not None:
        places.insert(0, str(Path(found).resolve().parent))
    return next((Path(place) for place in places if place and Path(place, "initdb").exists()), None)


def bouncer_program() -> str | None:
    """PgBouncer; None where there is none. DURABLE_TEST_PGBOUNCER_BIN names another one than Debian's."""
    return os.environ.get("DURABLE_TEST_PGBOUNCER_BIN") or shutil.which("pgbouncer", path=_PROGRAMS)


def bouncer_version(program: str) -> tuple[int, int]:
    """Its version: prepared statements get through it from 1.21 on."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    major, minor, *_ = said.split()[1].split(".")
    return int(major), int(minor)


class PostgresServer:
    """One cluster. The user who runs it is `postgres` where we are root, since the server refuses root."""

    def __init__(self, *, fast: bool = True, room_mib: int | None = None, **settings: str) -> None:
        """room_mib: the size of two disks of its own, for tables and for the log, which are in memory."""
        found = binaries()
        assert found is not None, "PostgreSQL is not installed"
        self.binaries = found
        self.directory = Path(tempfile.mkdtemp(prefix="durable-pg-", dir="/tmp"))
        self.data = self.directory / "data"
        self._root = os.geteuid() == 0
        if self._root:
            owner = pwd.getpwnam("postgres")
            os.chown(self.directory, owner.pw_uid, owner.pw_gid)
        self.disks = [] if room_mib is None else [self.data, self.directory / "wal"]
        """Full ones make their statements fail, and the server end; for root alone."""
        for disk in self.disks:
            disk.mkdir()
            options = f"size={room_mib}m,uid={pwd.getpwnam('postgres').pw_uid},mode=700"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "durable-tests", disk], check=True)
        # Small segments: the log needs a new file soon, as a busy one does.
        log = [f"--waldir={self.disks[1]}", "--wal-segsize=1"] if self.disks else []
        made_with = ["-U", "postgres", "-E", "UTF8", "--locale=C", "-A", "trust", "-N", *log]
        self.run("initdb", "-D", str(self.data), *made_with)
        lines = [f"unix_socket_directories='{self.directory}'", "listen_addresses=''", "max_connections=200"]
        lines += [*(_FAST if fast else ()), *(f"{name}={value}" for name, value in settings.items())]
        with (self.data / "postgresql.conf").open("a") as config:
            config.write("\n".join(lines) + "\n")  # of two lines with one name the last one counts
        self.start()
        self._bouncer = Bouncer(self.directory) if os.environ.get(BOUNCER) else None

    @classmethod
    def standby_of(cls, primary: PostgresServer) -> PostgresServer:
        """A server that follows another one."""
        self = cls.__new__(cls)
        self.binaries, self._root, self._bouncer = primary.binaries, primary._root, None
        self.disks = []
        self.directory = Path(tempfile.mkdtemp(prefix="durable-pg-", dir="/tmp"))
        self.data = self.directory / "data"
        if self._root:
            shutil.chown(self.directory, "postgres", "postgres")
        source = ["-h", str(primary.directory), "-U", "postgres", "-D", str(self.data)]
        self.run("pg_basebackup", *source, "-R", "-X", "stream", "-c", "fast")
        with (self.data / "postgresql.conf").open("a") as config:
            config.write(f"unix_socket_directories='{self.directory}'\n")
        self.start()
        return self

    def run(self, program: str, *arguments: str, check: bool = True) -> None:
        """Run one of PostgreSQL's programs as the server's user."""
        command = [str(self.binaries / program), *arguments]
        if self._root:
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        done = subprocess.run(
            command, cwd=self.directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        )
        assert not check or done.returncode == 0, f"{program}: status {done.returncode}"

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        self.run("pg_ctl", "-D", str(self.data), "-w", "-l", str(self.directory / "log"), "start")

    @property
    def running(self) -> bool:
        """Whether its first process lives. What a dead one left is removed, so that it can be started."""
        held = self.data / "postmaster.pid"
        with suppress(FileNotFoundError, ProcessLookupError):
            pid = held.read_text().split()[0]
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                return True
        for lock in (held, self.directory / ".s.PGSQL.5432.lock"):
            lock.unlink(missing_ok=True)
        return False

    def said(self, word: str) -> int:
        """How often its log has the word."""
        return (self.directory / "log").read_text(errors="replace").count(word)

    def kill(self) -> None:
        """Kill all of its processes as a crash does; returns when they are gone."""
        gone = []
        for each in self._processes():
            with suppress(ProcessLookupError):
                gone.append(os.pidfd_open(each))
                os.kill(each, signal.SIGKILL)
        for end in gone:
            assert select.select([end], [], [], 30)[0], "a killed process is gone soon"
            os.close(end)
        # Else a process that nobody has reaped yet counts as alive.
        for lock in (self.data / "postmaster.pid", self.directory / ".s.PGSQL.5432.lock"):
            lock.unlink()

    def signal(self, number: int) -> None:
        """Send a signal to all of its processes."""
        for each in self._processes():
            with suppress(ProcessLookupError):
                os.kill(each, number)

    def _processes(self) -> list[int]:
        """The one that begins the others first."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def stop(self) -> None:
        """End it and remove all of it."""
        if self._bouncer is not None:
            self._bouncer.stop()
        self.run("pg_ctl", "-D", str(self.data), "-m", "immediate", "stop", check=False)
        for disk in self.disks:
            subprocess.run(["umount", "--lazy", disk], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    def sql(self, *statements: str) -> list[tuple[object, ...]]:
        """Run statements as the superuser; the rows of the last one."""
        with psycopg.connect(f"host={self.directory} user=postgres dbname=postgres", autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def password_url(self, user: str, password: str, schema: str | None = None) -> str:
        """The URL of a store for a user of its own who shows a password; others go on without one."""
        if not self.sql(f"SELECT 1 FROM pg_roles WHERE rolname='{user}'"):
            rules = self.data / "pg_hba.conf"
            rules.write_text(f"local all {user} scram-sha-256\n{rules.read_text()}")
            self.sql(
                f"CREATE ROLE {user} LOGIN PASSWORD '{password}'",
                f"GRANT CREATE ON DATABASE postgres TO {user}",
                "SELECT pg_reload_conf()",
            )
        host = quote(str(self.directory), safe="")
        schema = schema or f"s{os.getpid()}_{next(_numbers)}"
        return f"postgresql://{user}:{quote(password)}@/postgres?host={host}&schema={schema}"

    def url(self, schema: str | None = None) -> str:
        """The URL of a store: in a schema that no other has, unless one is named."""
        schema = schema or f"s{os.getpid()}_{next(_numbers)}"
        place = self.directory if self._bouncer is None else self._bouncer.directory
        return f"postgresql:///postgres?host={quote(str(place), safe='')}&user=postgres&schema={schema}"


class Bouncer:
    """PgBouncer in transaction mode before a server: each transaction may get another of a few connections."""

    def __init__(self, server: Path, **settings: str) -> None:
        found = bouncer_program()
        assert found is not None, "PgBouncer is not installed"
        self.program = found
        self.directory = Path(tempfile.mkdtemp(prefix="durable-bouncer-", dir="/tmp"))
        self._socket = self.directory / ".s.PGSQL.5432"
        (self.directory / "users").write_text('"postgres" ""\n')
        lines = [f"{name} = {value}" for name, value in {"default_pool_size": "8", **settings}.items()]
        (self.directory / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={server}\n[pgbouncer]\npool_mode = transaction\nauth_type = trust\n"
            f"auth_file = {self.directory}/users\nunix_socket_dir = {self.directory}\nlisten_port = 5432\n"
            "max_client_conn = 500\nadmin_users = postgres\n" + "\n".join(lines) + "\n"
        )
        if os.geteuid() == 0:
            for path in (self.directory, *self.directory.iterdir()):
                shutil.chown(path, "postgres", "postgres")
        self.start()

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        command = [self.program, "-q", str(self.directory / "pgbouncer.ini")]
        if os.geteuid() == 0:
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 10
        while not self._socket.exists():
            assert self._process.poll() is None, "pgbouncer ended"
            assert time.monotonic() < until, "pgbouncer begins within 10 s"
            time.sleep(0.02)

    def url(self, url: str) -> str:
        """The URL of a store of the server, as it is reached through this."""
        _, _, options = url.partition("&")
        return f"postgresql:///postgres?host={quote(str(self.directory), safe='')}&{options}"

    def admin(self, command: str) -> list[dict[str, Any]]:
        """A command of its console; the rows that it answers with."""
        place = f"host={self.directory} user=postgres dbname=pgbouncer"
        with psycopg.connect(place, autocommit=True, row_factory=dict_row) as connection:
            cursor = psycopg.ClientCursor(connection, row_factory=dict_row).execute(command.encode())
            return cursor.fetchall() if cursor.description else []

    def kill(self) -> None:
        """Kill it: all connections through it are gone."""
        self._process.kill()
        self._process.wait()
        self._socket.unlink(missing_ok=True)

    def stop(self) -> None:
        """End it and remove its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


def rows_of(url: str, sql: str) -> list[tuple[Any, ...]]:
    """The rows that a statement finds in the schema of a store; none where the store was not made yet."""
    address = address_of(url)
    with psycopg.connect(address.conninfo, autocommit=True) as connection:
        connection.execute(f'SET search_path TO "{address.schema}"'.encode())
        try:
            return connection.execute(sql.encode()).fetchall()
        except psycopg.errors.UndefinedTable:
            return []


@contextmanager
def behind(place: str, file: Path) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
    """Statements with `?` for parameters, run behind a store's back: on its database, or its file."""
    if not place.startswith("postgresql:"):
        with closing(sqlite3.connect(file)) as database, database:
            yield lambda sql, *parameters: database.execute(sql, parameters).fetchall()
        return
    address = address_of(place)
    with psycopg.connect(address.conninfo, autocommit=True) as connection:
        connection.execute(f'SET search_path TO "{address.schema}"'.encode())
        yield lambda sql, *parameters: connection.execute(sql.replace("?", "%s").encode(), parameters).fetchall()
