"""The process that runs one program and ends all it started.

Run as python -I -S process_supervisor.py ENGINE REPORT PATH [ARGS…]. What the program starts becomes a child of this
process when its own parent ends, whatever group or session it has moved to. All of it is killed when the program has
ended, on SIGTERM, and when the engine dies. How the program ended is written to the descriptor REPORT: `exit CODE` or
`failed ERRNO`. Nothing but the standard library is imported.
"""

import ctypes
import errno
import os
import signal
import sys
import time

END_S = 5.0
"""Seconds after which what cannot be killed (another user's, one that the kernel holds) is left."""
LOOK_S = 0.05

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main(engine: int, report: int, path: str, *args: str) -> None:
    """Run it, wait, end what is left, report."""
    os.set_inheritable(report, False)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    libc = ctypes.CDLL(None)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1) or libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM):
        os.write(report, f"failed {errno.ENOSYS}".encode())
        return
    if os.getppid() != engine:  # it died before the call
        return
    default = (signal.SIGPIPE, signal.SIGXFSZ)  # Python ignores them
    try:
        program = os.posix_spawn(path, [path, *args], os.environ, setsid=True, setsigmask=(), setsigdef=default)
    except OSError as error:
        os.write(report, f"failed {error.errno}".encode())
        return
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):  # the program's own now: they end with it
        os.dup2(nothing, fd)
    code = _ended(program)
    os.write(report, f"exit {_end_all(program, code)}".encode())


def _ended(program: int) -> int | None:
    """Wait for the program: how it ended, None when it is to be ended."""
    while (code := _reap(program)) is None:
        if signal.sigwait({signal.SIGTERM, signal.SIGCHLD}) == signal.SIGTERM:
            return None
    return code


def _reap(program: int) -> int | None:
    """Take the children that have ended, up to the program. ChildProcessError when there are none."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == program:
            return os.waitstatus_to_exitcode(status)
        if pid == 0:
            return None


def _end_all(program: int, code: int | None) -> int:
    """Kill children until there are none: those of a killed one are the next. How the program ended."""
    code = -signal.SIGKILL if code is None else code
    until = time.monotonic() + END_S
    while time.monotonic() < until:
        try:
            while (found := _reap(program)) is not None:
                code = found
        except ChildProcessError:
            break
        for pid in _children():  # nobody else takes them, so a number is not another process's
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        signal.sigtimedwait({signal.SIGCHLD}, LOOK_S)
    return code


def _children() -> list[int]:
    me = os.getpid()
    try:
        with open(f"/proc/self/task/{me}/children", encoding="ascii") as found:
            return [int(pid) for pid in found.read().split()]
    except OSError:  # a kernel without it
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _parent(pid) == me]


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as found:
            return int(found.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
