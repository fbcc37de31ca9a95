"""The codes: what each one finds, why it is wrong in a durable function, and what to write instead (docs/lint.md)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LintRule:
    """One code."""

    code: str
    name: str
    reason: str


CLOCK = LintRule("DUR001", "clock", "a replay reads another time")
CHANCE = LintRule("DUR002", "chance", "a replay draws another value")
IO = LintRule("DUR003", "i/o", "a replay does it again")
THREADS = LintRule("DUR004", "threads", "a replay starts it again, in an order of its own")
ENVIRONMENT = LintRule("DUR005", "environment", "a replay may run in another process, on another machine")
SHARED = LintRule("DUR006", "shared state", "a replay changes it again, and other executions see it")
SET_ORDER = LintRule("DUR007", "order of a set", "it is another one in each process")
UNAWAITED = LintRule("DUR008", "unawaited operation", "its result is not waited for, and its error is lost")
SYNTAX = LintRule("DUR000", "syntax", "it is no Python")

RULES = {each.code: each for each in (SYNTAX, CLOCK, CHANCE, IO, THREADS, ENVIRONMENT, SHARED, SET_ORDER, UNAWAITED)}

_STEP = "put it into a step: await ctx.run(…)"
_NOW = "ctx.now()"
_RANDOM = "ctx.random"

CALLS: dict[str, tuple[LintRule, str]] = {
    **dict.fromkeys(
        (
            "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter",
            "time.perf_counter_ns", "time.process_time", "time.localtime", "time.gmtime", "time.ctime",
            "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today",
        ),
        (CLOCK, _NOW),
    ),
    "time.sleep": (CLOCK, "await ctx.sleep(…)"),
    **dict.fromkeys(
        ("uuid.uuid1", "uuid.uuid4", "uuid.uuid6", "uuid.uuid7", "uuid.getnode"), (CHANCE, "ctx.uuid()")
    ),
    "os.urandom": (CHANCE, _STEP),
    "hash": (CHANCE, "hashlib, which gives the same in each process"),
    **dict.fromkeys(
        ("open", "io.open", "os.listdir", "os.scandir", "os.walk", "os.remove", "os.unlink", "os.rename", "os.replace",
         "os.mkdir", "os.makedirs", "os.rmdir", "os.stat", "os.system", "os.popen", "os.open", "glob.glob",
         "glob.iglob", "urllib.request.urlopen", "urllib.request.urlretrieve", "sqlite3.connect",
         "asyncio.open_connection", "asyncio.start_server", "asyncio.open_unix_connection"),
        (IO, _STEP),
    ),
    "input": (IO, "await ctx.ask(…)"),
    **dict.fromkeys(("asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell"), (IO, _STEP)),
    **dict.fromkeys(("asyncio.to_thread", "asyncio.run", "asyncio.Runner"), (THREADS, _STEP)),
    **dict.fromkeys(
        ("os.getenv", "os.getcwd", "os.getpid", "os.getlogin", "os.cpu_count", "os.uname", "socket.gethostname",
         "platform.node", "platform.platform", "platform.uname", "getpass.getuser", "pathlib.Path.home",
         "pathlib.Path.cwd"),
        (ENVIRONMENT, "an argument of the function, or a step"),
    ),
}  # fmt: skip
"""Calls by their full name."""

PACKAGES: dict[str, tuple[LintRule, str]] = {
    "random": (CHANCE, _RANDOM),
    "secrets": (CHANCE, _STEP),
    "numpy.random": (CHANCE, _STEP),
    **dict.fromkeys(
        ("requests", "httpx", "aiohttp", "urllib3", "http.client", "ftplib", "smtplib", "imaplib", "poplib", "boto3",
         "socket", "shutil", "subprocess", "tempfile", "psycopg", "asyncpg", "aiosqlite", "redis", "pymongo"),
        (IO, _STEP),
    ),
    **dict.fromkeys(("threading", "_thread", "concurrent.futures", "multiprocessing"), (THREADS, _STEP)),
}  # fmt: skip
"""Calls of anything in these."""

ALLOWED = frozenset({"random.Random", "shutil.get_terminal_size", "socket.inet_aton", "socket.inet_ntoa"})
"""Of those, what is right with arguments of the function's own: a seeded Random."""

PATH_METHODS = frozenset(
    {"read_text", "read_bytes", "write_text", "write_bytes", "open", "unlink", "mkdir", "rmdir", "touch", "iterdir",
     "glob", "rglob", "exists", "is_file", "is_dir", "stat", "rename", "replace", "symlink_to", "chmod"}
)  # fmt: skip
"""Methods of `pathlib.Path` that touch the disk."""

ENVIRONMENT_NAMES = frozenset({"os.environ", "os.environb", "sys.argv"})

MUTATORS = frozenset(
    {"append", "extend", "insert", "remove", "pop", "popitem", "clear", "update", "setdefault", "add", "discard",
     "appendleft", "extendleft", "popleft", "sort", "reverse", "subtract", "intersection_update"}
)  # fmt: skip
"""Methods that change a list, a dict, a set or a deque."""

OPERATIONS = frozenset(
    {
        "run",
        "sleep",
        "ask",
        "choose",
        "approve",
        "review",
        "execute",
        "sandbox",
        "component",
        "signal",
        "promise",
        "map",
    }
)
"""Methods of a context whose result is to be awaited."""

TAKE_STEPS = frozenset({"run", "compensate", "map", "start"})
"""Methods of a context whose first argument runs elsewhere: in a step, or in a function with a context of its own."""
