"""Unsaveable objects, and why: one table. Subclasses count too, unless they say themselves how to be pickled."""

from __future__ import annotations

_LIVE = "it is live state of this process"
_KERNEL = "it is held by the operating system for this process"

REASONS: dict[str, tuple[str, str]] = {
    "builtins.generator": ("a generator", "its frame is live state of this process"),
    "builtins.coroutine": ("a coroutine", "its frame is live state of this process"),
    "builtins.async_generator": ("an asynchronous generator", "its frame is live state of this process"),
    "builtins.frame": ("a frame", _LIVE),
    "builtins.traceback": ("a traceback", "it holds the frames of this process"),
    "_asyncio.Future": ("a future or task", "the event loop that drives it ends with this process"),
    "asyncio.futures.Future": ("a future or task", "the event loop that drives it ends with this process"),
    "asyncio.events.AbstractEventLoop": ("an event loop", _LIVE),
    "asyncio.events.Handle": ("an event loop's handle", _LIVE),
    "asyncio.runners.Runner": ("an asyncio runner", "it holds an event loop"),
    "asyncio.taskgroups.TaskGroup": ("a task group", "it holds tasks"),
    "asyncio.streams.StreamReader": ("a stream", "it holds a connection of this process"),
    "asyncio.streams.StreamWriter": ("a stream", "it holds a connection of this process"),
    "asyncio.subprocess.Process": ("a child process", _KERNEL),
    "_contextvars.Token": ("a context variable's token", "it is good only in the context that made it"),
    "_contextvars.Context": ("a context", _LIVE),
    "socket.socket": ("a socket", _KERNEL),
    "_socket.socket": ("a socket", _KERNEL),
    "_ssl._SSLContext": ("an SSL context", "its keys are held by the SSL library of this process"),
    "_ssl._SSLSocket": ("an SSL connection", _KERNEL),
    "sqlite3.Connection": ("a database connection", "open it again by its path"),
    "sqlite3.Cursor": ("a database cursor", "it belongs to a connection of this process"),
    "sqlite3.Blob": ("a database blob", "it belongs to a connection of this process"),
    "threading.Thread": ("a thread", "its stack is live state of this process"),
    "subprocess.Popen": ("a child process", _KERNEL),
    "multiprocessing.process.BaseProcess": ("a child process", _KERNEL),
    "multiprocessing.pool.Pool": ("a process pool", "it holds child processes"),
    "multiprocessing.managers.BaseManager": ("a manager", "it holds a child process"),
    "multiprocessing.connection._ConnectionBase": ("a connection", _KERNEL),
    "concurrent.futures._base.Executor": ("an executor", "it holds threads or processes"),
    "concurrent.futures._base.Future": ("a future", "the executor that fills it ends with this process"),
    "mmap.mmap": ("a memory map", "it is memory of this process; map the file again"),
    "_ctypes._Pointer": ("a pointer", "an address means nothing in another process"),
    "_ctypes.CFuncPtr": ("a C function", "an address means nothing in another process"),
    "ctypes.CDLL": ("a loaded library", "it is memory of this process; load it again by its name"),
    "_queue.SimpleQueue": ("a SimpleQueue", "its items cannot be read without taking them; queue.Queue can be saved"),
    "select.epoll": ("an epoll", _KERNEL),
    "select.poll": ("a poll", _KERNEL),
    "selectors.BaseSelector": ("a selector", _KERNEL),
    "posix.ScandirIterator": ("a directory iterator", _KERNEL),
    "posix.DirEntry": ("a directory entry", "only its path can be kept: os.fspath(entry)"),
    "tempfile._TemporaryFileWrapper": ("a temporary file", "it is deleted with this process"),
    "_hashlib.HASH": ("a running hash", "its state is held by the SSL library of this process"),
    "_hashlib.HMAC": ("a running hash", "its state is held by the SSL library of this process"),
    "zlib.Compress": ("a compressor", _LIVE),
    "zlib.Decompress": ("a decompressor", _LIVE),
    "_csv.reader": ("a CSV reader", "it reads from an iterator of this process"),
    "_csv.writer": ("a CSV writer", "it writes to a file of this process"),
    "weakref.finalize": ("a finalizer", "this process keeps it until its object ends"),
    "builtins.weakproxy": ("a weak proxy", "what it stands for cannot be told from it; weakref.ref can be saved"),
    "weakref.ProxyType": ("a weak proxy", "what it stands for cannot be told from it; weakref.ref can be saved"),
    "weakref.CallableProxyType": (
        "a weak proxy",
        "what it stands for cannot be told from it; weakref.ref can be saved",
    ),
    "memory.view": ("a view into part of a buffer", "only a view of a whole bytes, bytearray or array can be saved"),
    "file.descriptor": ("a file opened by its descriptor", "the descriptor belongs to this process"),
    "file.other": ("a file object that is not an ordinary file", _KERNEL),
    "file.position": ("a file in the middle of an iteration", "its position cannot be told; read it with readline()"),
    "re.Match": ("a match", "searching again does not find the same"),
}

PICKLES_ITSELF = ("__reduce__", "__reduce_ex__", "__getstate__")


class Unsaveable(Exception):
    """Raised inside a pickler. `what` is the kind of object, `why` the reason, `of` its type."""

    def __init__(self, key: str, of: type) -> None:
        self.what, self.why = REASONS[key]
        self.of = of
        super().__init__(f"{self.what} cannot be saved: {self.why}")


class Unloadable(Exception):
    """An object can be pickled, but was found not to load; the text says why."""


def type_key(cls: type) -> str:
    """`module.qualname`, the key of the tables here; nothing has to be imported to compare it."""
    return f"{cls.__module__}.{cls.__qualname__}"


def reason_key(cls: type) -> str | None:
    """The row of REASONS that a class falls under, or None."""
    for base in cls.__mro__:
        key = type_key(base)
        if key in REASONS:
            return key
        if base is not object and any(name in base.__dict__ for name in PICKLES_ITSELF):
            return None
    return None


def type_name(value: object) -> str:
    """How a variable's type is named in reports."""
    return type_key(type(value)).removeprefix("builtins.").removeprefix("__main__.")


def explain(value: object, error: BaseException) -> tuple[str, str]:
    """(type of the variable, reason) for a variable whose pickling raised."""
    kind = type_name(value)
    if isinstance(error, Unsaveable):
        if issubclass(type(value), error.of):
            return kind, str(error)
        return kind, f"it holds {error.what}, which cannot be saved: {error.why}"
    if isinstance(error, Unloadable):
        return kind, str(error)
    if is_too_deep(error):
        return kind, "it is nested too deeply to be pickled"
    return kind, f"it cannot be pickled: {type(error).__name__}: {safe_text(error)}"


def is_too_deep(error: BaseException) -> bool:
    """Whether pickling gave up for its depth."""
    return isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError)


def safe_text(error: BaseException) -> str:
    """An error's text, even when its own __str__ raises; cut, and encodable."""
    try:
        text = str(error)
    except Exception:
        text = "(its message cannot be shown)"
    return text[:500].encode("utf-8", "replace").decode()
