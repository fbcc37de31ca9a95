"""The file: found or made, checked, migrated, its key beside it. Everything is 0600, directories 0700."""

from __future__ import annotations

import errno
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from durable.core.disk_space import ADVICE, has_no_room, is_no_room
from durable.core.errors import StoreError, StoreFull, StoreMissing, StoreNewer
from durable.core.limits import LOG_PAGES_GOAL, WRITE_CACHE_KIB
from durable.store import owner_check
from durable.store.target import MEMORY, is_database, is_url, parsed
from durable.store.unfinished_copy import UNFINISHED, unfinished

APPLICATION_ID = 0x44555241  # "DURA": tells our files from other SQLite databases
_KEY_BYTES = 32
_HINT = {
    "unable to open": "check that the directory exists and that you may read and write there",
    "readonly": "the file or its directory is read-only; copy it elsewhere or change its permissions",
    "read-only": "the file or its directory is read-only; copy it elsewhere or change its permissions",
    "not a database": "it was not written by durable-exec; choose another path",
    "decode to UTF-8": "it is damaged; run `durable doctor`, or restore a backup",
    "malformed": "it is damaged; run `durable doctor`, or restore a backup",
    "locked": "another process holds it for too long; end that process or try again",
    "disk I/O": "the disk reports an error; nothing was acknowledged that is not stored",
}


_IN_A_URI = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-"
"""Characters that stand for themselves in an URI."""

SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""The errors of using a file. The second comes of a damaged one whose own words end up in SQLite's message."""


def explain(path: Path, error: Exception) -> StoreError:
    """SQLite's error as ours: what happened to which file, and what to do."""
    if _is_full(path, error):
        return StoreFull(f"store {str(path)!r}: the disk is full; {ADVICE}")
    text = "malformed text in the file" if isinstance(error, UnicodeDecodeError) else str(error)
    hint = next((hint for part, hint in _HINT.items() if part in text), "")
    return StoreError(f"store {str(path)!r}: {text}" + (f"; {hint}" if hint else ""))


def _is_full(path: Path, error: Exception) -> bool:
    """Whether it was raised because there is no room on the disk. Blocks: SQLite says so of its log and its file only.

    The log's index, a new file and a quota fail as an error of input and output, or as what cannot be opened.
    """
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # which the module's own errors lack
    return code == sqlite3.SQLITE_FULL or (
        code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and has_no_room(path.parent)
    )


def unwritable(path: Path, error: OSError, what: str = "cannot be opened for writing") -> StoreError:
    """The system's error as ours."""
    text = f"store {str(path)!r} {what}: {error.strerror}"
    return StoreFull(f"{text}; {ADVICE}") if is_no_room(error) else StoreError(text)


def migrations() -> list[str]:
    """The numbered scripts in order; script i brings the schema from version i to i + 1."""
    return [path.read_text("utf-8") for path in _scripts()]


def _scripts() -> list[Path]:
    directory = Path(__file__).with_name("migrations")  # importlib.resources would bring zipfile
    found = sorted(path for path in directory.iterdir() if path.suffix == ".sql")
    assert [int(path.stem) for path in found] == list(range(1, len(found) + 1))
    return found


def locate(path: str | Path, *, create: bool) -> Path:
    """The absolute path of the store, with its parent directory and the file made where allowed and missing."""
    named = parsed(path)
    if named == MEMORY:
        import tempfile

        return Path(tempfile.mkdtemp(prefix="durable-")) / "state.db"
    if is_url(path) or is_database(path):
        raise StoreError("a file's store was asked for, and this is the URL of a server or a database")
    found = Path(named).expanduser().absolute()
    try:
        if found.is_dir():
            raise StoreError(
                f"store {str(found)!r} is a directory; name a file in it, for instance {str(found / 'state.db')!r}"
            )
        owner_check.check(found)
        if not create and not found.exists():
            raise StoreMissing(f"there is no store at {str(found)!r}; `durable run` or `durable exec` makes one")
        found.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _touch(found)
        Path(f"{found}.d").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise unwritable(found, error) from error
    return found


def _touch(path: Path) -> None:
    """Make the file, private, if there is none. Raises OSError when it may not be written.

    Without opening it: SQLite's locks are the process's, and closing any descriptor of the file drops them all (F1).
    """
    try:
        os.mknod(path, 0o600)
    except FileExistsError:
        if not os.access(path, os.R_OK | os.W_OK):
            code = errno.EROFS if os.statvfs(path).f_flag & os.ST_RDONLY else errno.EACCES
            raise OSError(code, os.strerror(code)) from None


def load_key(path: Path, *, create: bool = True) -> bytes:
    """The key that authenticates checkpoints: 32 random bytes beside the store, made whole at first opening."""
    file = Path(f"{path}.key")
    try:
        if create and not file.exists():
            draft = Path(f"{file}.{secrets.token_hex(8)}")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(secrets.token_bytes(_KEY_BYTES))
                stream.flush()
                os.fsync(stream.fileno())
            try:
                os.link(draft, file)  # fails when another process was first: its key is the one
            except FileExistsError:
                pass
            draft.unlink()
        key = owner_check.read_secret(file, path)
    except OSError as error:
        raise unwritable(path, error, f"cannot be opened: its key {str(file)!r} cannot be read or made") from error
    if len(key) != _KEY_BYTES:
        raise StoreError(f"the store's key {str(file)!r} is damaged: {len(key)} bytes, expected {_KEY_BYTES}")
    return key


def connect(path: Path, factory: type[sqlite3.Connection] = sqlite3.Connection) -> sqlite3.Connection:
    """Open the file for the writer and bring its schema up to date. Raises sqlite3.Error and StoreError."""
    connection = sqlite3.connect(
        path, timeout=5.0, isolation_level=None, check_same_thread=False, cached_statements=512, factory=factory
    )
    try:
        claim(connection, path)
        for pragma in (
            "journal_mode=WAL",
            "foreign_keys=OFF",
            f"cache_size=-{WRITE_CACHE_KIB}",
            "temp_store=MEMORY",
            f"wal_autocheckpoint={LOG_PAGES_GOAL}",
        ):
            connection.execute(f"PRAGMA {pragma}")
        _migrate(connection, path)
        connection.execute("PRAGMA busy_timeout=0")  # the writer has its own, shorter and jittered retry
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads, for upkeep. StoreError when there is no such file or it cannot be read."""
    if not path.is_file():
        raise StoreError(f"there is no store at {str(path)!r}")
    owner_check.check(path)
    log = Path(f"{path}-wal")
    recovered = not log.exists() or log.stat().st_size == 0
    # SQLite makes its files beside the store even for a reader, and only who may write takes them away again.
    mode = "rw" if os.access(path, os.W_OK) else "ro&immutable=1" if recovered else "ro"
    try:
        uri = f"{address(path.absolute())}?mode={mode}"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as found:
            found.execute("PRAGMA query_only=ON")
            if not recovered:
                found.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)  # what a crash left stays as it is
            yield found
    except SQLITE_ERRORS as error:
        raise explain(path, error) from error


def claim(connection: sqlite3.Connection, path: Path) -> None:
    """Raises StoreError for another program's database."""
    connection.execute("BEGIN")  # one look at both: another process may be making the schema right now
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    foreign = application != APPLICATION_ID and connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    connection.execute("COMMIT")
    if foreign:
        raise StoreError(f"store {str(path)!r} is a database of another program; choose another path")


def check_version(path: Path, version: int, newest: int) -> None:
    """Raises StoreNewer for the file of a later durable-exec, StoreError for a copy that was not finished."""
    if version == UNFINISHED:
        raise StoreError(unfinished(repr(str(path))))
    if version > newest:
        raise StoreNewer(
            f"store {str(path)!r} has schema version {version}, this durable-exec knows up to {newest};"
            " upgrade durable-exec"
        )


def address(path: Path) -> str:
    """An absolute path as SQLite's URI. `as_uri` would bring urllib, which an engine does without."""
    text = os.fsencode(path)
    return "file:" + "".join(chr(byte) if chr(byte) in _IN_A_URI else f"%{byte:02x}" for byte in text)


def is_current(connection: sqlite3.Connection) -> bool:
    """Whether it is a store with the schema of this durable-exec. Errors of SQLite."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    return bool(
        application == APPLICATION_ID and connection.execute("PRAGMA user_version").fetchone()[0] == len(_scripts())
    )


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    scripts = migrations()
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    check_version(path, version, len(scripts))
    if version == len(scripts):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]  # another process may have been first
        for script in scripts[version:]:
            for statement in script.split(";\n"):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={len(scripts)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
