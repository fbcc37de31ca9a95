"""A filter of system calls: which are refused, as data, and its program for the kernel (specs/isolation.md, Filter)."""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from bridge.confine.syscall_numbers import LAST_KNOWN, MACHINES, Machine
from bridge.confine.syscalls import MACHINE, prctl

_LOAD, _EQUAL, _ABOVE, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_AT_NUMBER, _AT_ARCHITECTURE, _AT_ARGUMENTS = 0, 4, 16
_X32_BIT = 0x40000000
_PR_GET_SECCOMP, _PR_SET_SECCOMP, _MODE_FILTER = 21, 22, 2

_NEW_NAMESPACES = 0x7E020000
"""Every CLONE_NEW* flag that clone takes."""

_RLIMIT_CPU = 0
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C

REFUSED = (
    *("mount", "umount2", "pivot_root", "chroot", "setns", "unshare"),
    *("fsopen", "fsconfig", "fsmount", "fspick", "open_tree", "move_mount", "mount_setattr"),
    *("open_by_handle_at", "name_to_handle_at", "fanotify_init", "quotactl", "quotactl_fd"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "get_robust_list"),
    *("process_madvise", "process_mrelease", "move_pages", "migrate_pages", "ioprio_set"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "bpf", "perf_event_open"),
    *("add_key", "request_key", "keyctl", "init_module", "finit_module", "delete_module", "kexec_load"),
    *("kexec_file_load", "reboot", "sethostname", "setdomainname", "settimeofday", "clock_settime", "clock_adjtime"),
    *("acct", "swapon", "swapoff", "adjtimex", "syslog", "iopl", "ioperm", "modify_ldt", "vhangup"),
    *("shmget", "memfd_secret"),  # memory that stays when nobody holds it, or that nobody can look at
    *("setsid", "setpgid"),  # what it starts stays in the worker's process group, which ends as a whole
)
"""Refused with EPERM whatever their arguments: ways to other processes, to the kernel, out of the process group."""


@dataclass(frozen=True, slots=True)
class When:
    """Refuse `call` with `error` when the low 32 bits of `argument` are `value` (or, `unless`, anything else)."""

    call: str
    argument: int
    value: int
    error: int = errno.EPERM
    unless: bool = False
    bits: bool = False
    """`value` is a mask: any of its bits."""
    pointer: int | None = None
    """Only when this argument is not null as well."""


NO_MORE_CPU = (When("setrlimit", 0, _RLIMIT_CPU), When("prlimit64", 1, _RLIMIT_CPU, pointer=2))
"""The engine moves the CPU limit with each execution, so it is a soft one; nobody else may."""

CONDITIONS = (
    *NO_MORE_CPU,
    When("socket", 0, socket.AF_UNIX, errno.EACCES, unless=True),
    When("clone", 0, _NEW_NAMESPACES, bits=True),
    When("prlimit64", 0, 0, unless=True),
    When("sched_setaffinity", 0, 0, unless=True),
    When("sched_setparam", 0, 0, unless=True),
    When("sched_setscheduler", 0, 0, unless=True),
    When("sched_setattr", 0, 0, unless=True),
    When("setpriority", 0, 0, unless=True),
    When("setpriority", 1, 0, unless=True),
    When("ioctl", 1, _TIOCSTI),
    When("ioctl", 1, _TIOCLINUX),
)


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def program(machine: Machine, refused: tuple[str, ...], conditions: tuple[When, ...], *, strict: bool) -> bytes:
    """The filter. `strict` also refuses calls that are newer than this list, so that nothing unknown is a way out."""
    return b"".join(_steps(machine, refused, conditions, strict=strict))


def _steps(
    machine: Machine, refused: tuple[str, ...], conditions: tuple[When, ...], *, strict: bool
) -> Iterator[bytes]:
    calls = machine.calls
    yield _step(_LOAD, _AT_ARCHITECTURE)
    yield _step(_EQUAL, machine.architecture, 1, 0)
    yield _step(_RETURN, _KILL_PROCESS)
    for name in refused:
        if name in calls:
            yield from _refuse(_EQUAL, calls[name], errno.EPERM)
    if strict:
        yield from _refuse(
            _EQUAL, calls["clone3"], errno.ENOSYS
        )  # its flags are out of reach; libc falls back to clone
        yield from _refuse(_ABOVE, LAST_KNOWN, errno.ENOSYS)
    else:
        yield from _refuse(_ABOVE, _X32_BIT - 1, errno.ENOSYS)
    for one in conditions:
        yield from _condition(calls[one.call], one)
    yield _step(_RETURN, _ALLOW)


def _refuse(test: int, number: int, error: int) -> Iterator[bytes]:
    yield _step(_LOAD, _AT_NUMBER)
    yield _step(test, number, 0, 1)
    yield _step(_RETURN, _ERRNO | error)


def _condition(number: int, one: When) -> Iterator[bytes]:
    also = () if one.pointer is None else _unless_null(_AT_ARGUMENTS + 8 * one.pointer)
    rest = len(also) + 1
    yield _step(_LOAD, _AT_NUMBER)
    yield _step(_EQUAL, number, 0, rest + 2)
    yield _step(_LOAD, _AT_ARGUMENTS + 8 * one.argument)
    yield _step(_ANY_BIT if one.bits else _EQUAL, one.value, *((rest, 0) if one.unless else (0, rest)))
    yield from also
    yield _step(_RETURN, _ERRNO | one.error)


def _unless_null(at: int) -> tuple[bytes, ...]:
    """Go on to the next step but one when both halves are 0, else to the next."""
    return (_step(_LOAD, at), _step(_EQUAL, 0, 0, 2), _step(_LOAD, at + 4), _step(_EQUAL, 0, 1, 0))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def install(refused: tuple[str, ...], conditions: tuple[When, ...], *, strict: bool) -> None:
    """Put the filter on this process and all it starts, for good. Needs no_new_privs. Raises OSError."""
    steps = program(MACHINES[MACHINE], refused, conditions, strict=strict)
    buffer = ctypes.create_string_buffer(steps, len(steps))
    whole = _Program(len(steps) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    prctl("seccomp", _PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(whole))


def available() -> bool:
    """Whether filters can be had here: a known machine, and a kernel that has them."""
    try:
        prctl("get_seccomp", _PR_GET_SECCOMP)
    except OSError:
        return False
    return MACHINE in MACHINES
