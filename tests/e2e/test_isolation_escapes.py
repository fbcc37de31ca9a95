"""Code that wants out of an isolated session, for an engine of root and one of a plain user (specs/isolation.md)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.isolated import need

ROOT = Path(__file__).resolve().parents[2]
PLAIN_UID = 12_345

C = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
REFUSED = C + "r = libc.{call}\nif r < 0: raise OSError(ctypes.get_errno(), 'refused')"

# name: (code, the exception it must end with, what its text must hold)
ESCAPES: dict[str, tuple[str, str, str]] = {
    "reads /etc/passwd": ("open('/etc/passwd').read()", "FileNotFoundError", "/etc/passwd"),
    "reads it by /proc": ("open('/proc/self/' + 'root' + '/etc/passwd').read()", "FileNotFoundError", "/etc/passwd"),
    "climbs": ("open('../' * 20 + 'etc/passwd').read()", "FileNotFoundError", "etc/passwd"),
    "lists the home": ("import os; os.listdir(home)", "Error", "[Errno"),
    "lists the root": ("import os; os.listdir('/')", "PermissionError", "'/'"),
    "lists processes": ("import os; os.listdir('/proc')", "PermissionError", "'/proc'"),
    "sees the engine's directory": ("import os; os.stat(outside + '/work.db')", "FileNotFoundError", "work.db"),
    "follows a link": ("import os; os.symlink('/etc/passwd', 'l'); open('l').read()", "FileNotFoundError", "'l'"),
    "hard links": ("import os; os.link(os.__file__, 'stolen')", "OSError", "[Errno"),
    "writes to /": ("open('/x', 'w')", "OSError", "'/x'"),
    "writes to /tmp": ("open('/tmp/x', 'w')", "OSError", "/tmp/x"),  # it is there only where Python is below it
    "writes to Python": ("import os; open(os.__file__, 'a')", "OSError", "os.py"),
    "removes from Python": ("import os; os.unlink(os.__file__)", "OSError", "os.py"),
    "changes a mode": ("import os; os.chmod(os.__file__, 0o777)", "OSError", "os.py"),
    "makes a device": ("import os, stat; os.mknod('sda', stat.S_IFBLK | 0o600, 2048)", "PermissionError", "[Errno 1"),
    "connects by TCP": (
        "import socket; socket.create_connection(('127.0.0.1', 22), 1)",
        "PermissionError",
        "[Errno 13]",
    ),
    "sends by UDP": (
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "PermissionError",
        "[Errno 13]",
    ),
    "binds": ("import socket; socket.create_server(('', 0))", "PermissionError", "[Errno 13]"),
    "opens a raw socket": ("import socket; socket.socket(socket.AF_PACKET, 3)", "PermissionError", "[Errno 13]"),
    "resolves a name": ("import socket; socket.getaddrinfo('example.org', 80)", "socket.gaierror", ""),
    "asks a Unix socket": (
        "import socket; socket.socket(socket.AF_UNIX).connect('/run/dbus/system_bus_socket')",
        "FileNotFoundError",
        "",
    ),
    "reads the engine's memory": ("open(f'/proc/{engine}/mem', 'rb')", "FileNotFoundError", "/mem"),
    "reads it by a call": (
        REFUSED.format(call="process_vm_readv(engine, 0, 0, 0, 0, 0)"),
        "PermissionError",
        "refused",
    ),
    "traces the engine": (REFUSED.format(call="ptrace(16, engine, 0, 0)"), "PermissionError", "refused"),
    "kills the engine": ("import os; os.kill(engine, 9)", "PermissionError", "[Errno 1]"),
    "signals its parent": ("import os; os.kill(os.getppid(), 15)", "PermissionError", "[Errno 1]"),
    "kills by pidfd": (
        "import os, signal; signal.pidfd_send_signal(os.pidfd_open(engine), 9)",
        "PermissionError",
        "[Errno 1]",
    ),
    "limits the engine": (
        "import resource; resource.prlimit(engine, resource.RLIMIT_NOFILE, (0, 0))",
        "PermissionError",
        "[Errno 1]",
    ),
    "moves the engine": ("import os; os.sched_setaffinity(engine, {0})", "PermissionError", "[Errno 1]"),
    "slows the engine": ("import os; os.setpriority(os.PRIO_PROCESS, engine, 19)", "PermissionError", "[Errno 1"),
    "becomes root": ("import os; os.setuid(0)", "OSError", "[Errno"),
    "makes namespaces": ("import os; os.unshare(os.CLONE_NEWUSER)", "PermissionError", "[Errno 1]"),
    "mounts": (REFUSED.format(call="mount(b'none', b'/session', b'tmpfs', 0, 0)"), "PermissionError", "refused"),
    "makes a ring": (REFUSED.format(call="syscall(425, 8, ctypes.create_string_buffer(120))"), "PermissionError", ""),
    "uses newer calls": (REFUSED.format(call="syscall(9999)"), "OSError", "[Errno 38]"),
    "leaves the group": (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], start_new_session=True)",
        "PermissionError",
        "[Errno 1]",
    ),
    "raises a limit": (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))",
        "ValueError",
        "not allowed",
    ),
    "raises the CPU limit": (
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (-1, -1))",
        "Error",
        "not allowed",
    ),
}

# name: (code, the value that shows that there is nothing)
FINDS: dict[str, tuple[str, object]] = {
    "descriptors": (
        "import os\nfound = []\nfor fd in range(3, 1024):\n"
        "    try: found.append([os.pread(fd, 99, 0).decode(), os.readlink(f'/proc/self/fd/{fd}')])\n"
        "    except (OSError, UnicodeDecodeError): pass\nfound",
        [],
    ),
    "variables": (
        "import os\n'ENGINE_TOKEN' in os.environ or b'secret' in open('/proc/self/environ', 'rb').read()",
        False,
    ),
    "its own memory": (
        "import re\nfound = 0\npattern = re.compile(rb'a sec[r]et of')\nmemory = open('/proc/self/mem', 'rb', 0)\n"
        "for line in open('/proc/self/maps'):\n"
        "    start, end = (int(part, 16) for part in line.split()[0].split('-'))\n"
        "    for at in range(start, end, 2**20):\n"
        "        try:\n"
        "            memory.seek(at)\n"
        "            found += len(pattern.findall(memory.read(min(2**20, end - at))))\n"
        "        except (OSError, OverflowError): break\n"
        "found",
        0,
    ),
}

BOMBS: dict[str, tuple[str, str]] = {
    "memory": ("b = bytearray(2**30)", "memory"),
    "memory, slowly": ("l = []\nwhile True: l.append(bytes(2**20))", "memory"),
    "shared memory": ("import mmap; m = mmap.mmap(-1, 2**30)", "memory"),
    "descriptors": ("l = [open('/dev/null') for _ in range(999)]", "files"),
    "disk": (
        "f = open('big', 'wb')\nfor _ in range(10 * 2**10): f.write(bytes(2**20)); f.flush()",
        "disk",
    ),
    "empty files": ("for n in range(10**6): open(f'f{n}', 'w').close()", "disk"),
    "forks": ("import os, time\nwhile True:\n    if not os.fork(): time.sleep(60)", "processes"),
    "threads": (
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(9,)).start()",
        "processes",
    ),
    "output": ("while True: print('spam' * 100)", "output"),
}

WORKS = {
    "a subprocess": (
        "import subprocess, sys\nsubprocess.check_output([sys.executable, '-c', 'print(6 * 7)']).decode()",
        "42\n",
    ),
    "a pool": (
        "import multiprocessing as m\nwith m.get_context('fork').Pool(2) as p: found = p.map(abs, [-1, -2])\nfound",
        [1, 2],
    ),
    "numpy": ("import numpy\nint(numpy.arange(10).sum())", 45),
    "asyncio": ("import asyncio\nawait asyncio.to_thread(sum, [1, 2])", 3),
    "its files": ("open('mine', 'w').write('x'); import os; 'mine' in os.listdir('.')", True),
    "temporary files": ("import tempfile\nwith tempfile.TemporaryFile() as f: f.write(b'1')\n2", 2),
}

CODES = {
    **{f"works: {name}": code for name, (code, _) in WORKS.items()},
    **{f"escape: {name}": code for name, (code, _, _) in ESCAPES.items()},
    **{f"finds: {name}": code for name, (code, _) in FINDS.items()},
    **{f"bomb: {name}": code for name, (code, _) in BOMBS.items()},
}


@pytest.fixture(scope="module", params=["root", "plain"])
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What became of every piece of code, run by an engine of that user."""
    need("profile isolated")
    command = [sys.executable, "-m", "tests.e2e.isolation_engine"]
    directory = tmp_path_factory.mktemp(request.param)
    if request.param == "root" and os.getuid() != 0:
        need("root, to run an engine as root", can=False)
    if request.param == "plain" and os.getuid() == 0:
        for parent in (directory, *directory.parents):
            if parent == Path(tempfile.gettempdir()):
                break
            parent.chmod(0o755)
        os.chown(directory, PLAIN_UID, PLAIN_UID)
        command = [sys.executable, "-m", "tests.e2e.plain_user", str(PLAIN_UID), *command]
    done = subprocess.run(
        [*command, str(directory)],
        input=json.dumps(CODES),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=110,
        check=False,
        env={**os.environ, "TMPDIR": str(directory)},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", ESCAPES)
def test_there_is_no_way_out(outcomes: dict[str, Any], name: str) -> None:
    _, kind, text = ESCAPES[name]
    found = outcomes[f"escape: {name}"]
    assert kind in found["kind"] or (kind == "OSError" and found["kind"].endswith("Error")), found
    assert text in found["text"], found
    assert found["goes_on"]


@pytest.mark.parametrize("name", FINDS)
def test_there_is_nothing_to_find(outcomes: dict[str, Any], name: str) -> None:
    found = outcomes[f"finds: {name}"]
    assert (found["kind"], found["value"]) == ("", FINDS[name][1])


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_a_typed_error_and_the_session_goes_on(outcomes: dict[str, Any], name: str) -> None:
    found = outcomes[f"bomb: {name}"]
    assert (found["kind"], found["resource"]) == ("durable.ResourceExceeded", BOMBS[name][1]), found
    assert found["goes_on"]


@pytest.mark.parametrize("name", WORKS)
def test_what_works_all_the_same(outcomes: dict[str, Any], name: str) -> None:
    found = outcomes[f"works: {name}"]
    assert (found["kind"], found["value"]) == ("", WORKS[name][1]), found


def test_the_directory_is_kept_and_shows_nothing_else(outcomes: dict[str, Any]) -> None:
    assert outcomes["planted link"]["kind"] == "FileNotFoundError"
    assert outcomes["link out"]["kind"] == "FileNotFoundError"
    assert outcomes["keeps files"]["kind"] == ""
    assert outcomes["on disk"]["value"] == "kept"
    assert outcomes["closed"]["value"] is False
