"""Landlock: which files a process and its children reach, and that they signal nobody else (Linux 6.12, ABI 6)."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable

from bridge.confine.syscalls import syscall

ABI_MIN = 6
"""The first that keeps signals and abstract sockets inside; ptrace and the memory of others always were closed."""

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION_FLAG, _PATH_BENEATH = 1, 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
TRUNCATE, IOCTL_DEVICE = 1 << 14, 1 << 15
_ALL_FILES = (1 << 16) - 1
_ALL_TCP = 3
_ALL_SCOPES = 3

READ = EXECUTE | READ_FILE | READ_DIR
WRITE = _ALL_FILES & ~(_MAKE_CHAR | _MAKE_BLOCK | IOCTL_DEVICE)
DEVICE = READ_FILE | WRITE_FILE
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEVICE


def abi() -> int:
    """The version that this kernel has switched on; 0 for none."""
    try:
        return syscall("landlock", _CREATE, None, 0, _VERSION_FLAG)
    except OSError:
        return 0


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def restrict(rules: Iterable[tuple[str, int]]) -> None:
    """Allow only these: (path, rights beneath it). No TCP, no signals to others, for good. Raises OSError."""
    handled = (ctypes.c_uint64 * 3)(_ALL_FILES, _ALL_TCP, _ALL_SCOPES)
    ruleset = syscall("landlock ruleset", _CREATE, ctypes.byref(handled), ctypes.sizeof(handled), 0)
    try:
        for path, rights in rules:
            _allow(ruleset, path, rights)
        syscall("landlock_restrict_self", _RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _OF_FILES
        rule = _Beneath(rights, fd)
        syscall(f"landlock rule {path}", _ADD, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(fd)
