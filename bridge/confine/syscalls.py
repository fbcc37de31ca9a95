"""The system calls that Python does not have, by ctypes; each raises OSError that names the call."""

from __future__ import annotations

import ctypes
import os

from bridge.confine.syscall_numbers import MACHINES

MACHINE = os.uname().machine

MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
MNT_DETACH = 2
_MOUNT_ATTR = {"ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8}
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_MOUNT_SETATTR = 442  # numbers from 424 on are the same on every machine

_PR_SET_DUMPABLE, _PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 4, 23, 24, 38, 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
CAP_SETUID, CAP_SYS_ADMIN, CAP_SYS_RESOURCE = 7, 21, 24

_libc = ctypes.CDLL(None, use_errno=True)


def _done(what: str, result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(what: str, number: int, *arguments: object) -> int:
    """A raw system call; ints and pointers, as ctypes takes them."""
    whole = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return _done(what, _libc.syscall(ctypes.c_long(number), *whole))


def prctl(what: str, option: int, *arguments: object) -> int:
    whole = [ctypes.c_ulong(each) if isinstance(each, int) else each for each in (*arguments, 0, 0, 0, 0)[:4]]
    return _done(f"prctl({what})", _libc.prctl(ctypes.c_int(option), *whole))


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    encoded = [os.fsencode(each) for each in (source, target, kind)]
    _done(f"mount {target}", _libc.mount(*encoded, ctypes.c_ulong(flags), os.fsencode(data)))


def restrict_mount(path: str, *flags: str, recursive: bool = True) -> None:
    """Add `ro`, `nosuid`, `nodev`, `noexec` to a mount (and those below it); what it has already stays."""
    attributes = (ctypes.c_uint64 * 4)(sum(_MOUNT_ATTR[flag] for flag in flags), 0, 0, 0)
    where = ctypes.c_char_p(os.fsencode(path))
    size = ctypes.sizeof(attributes)
    below = _AT_RECURSIVE if recursive else 0
    syscall(f"mount_setattr {path}", _MOUNT_SETATTR, _AT_FDCWD, where, below, ctypes.byref(attributes), size)


def change_root(new: str) -> None:
    """Make `new` the root of this mount namespace; the old one is gone for good."""
    os.chdir(new)
    here = ctypes.c_char_p(b".")
    syscall("pivot_root", MACHINES[MACHINE].calls["pivot_root"], here, here)
    _done("umount of the old root", _libc.umount2(b".", MNT_DETACH))
    os.chdir("/")


def no_new_privileges() -> None:
    prctl("no_new_privs", _PR_SET_NO_NEW_PRIVS, 1)


def set_dumpable() -> None:
    """Own /proc/self again, which a change of user takes away."""
    prctl("dumpable", _PR_SET_DUMPABLE, 1)


def effective_capabilities() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))


def drop_capabilities(keep: int = 0) -> None:
    """Give up every capability that is not in the mask `keep`, for this process and all it starts."""
    held = effective_capabilities() & keep
    number = 0
    while _libc.prctl(_PR_CAPBSET_READ, ctypes.c_ulong(number), 0, 0, 0) >= 0:  # until the kernel knows no more
        if not keep >> number & 1:
            prctl(f"capbset_drop {number}", _PR_CAPBSET_DROP, number)
        number += 1
    prctl("cap_ambient", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    low, high = held & 0xFFFFFFFF, held >> 32
    data = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    _done("capset", _libc.capset(ctypes.byref(header), ctypes.byref(data)))


def wipe_environment(name: str) -> None:
    """Overwrite the text of a variable where the process got it from its parent."""
    _libc.getenv.restype = ctypes.c_void_p
    at = _libc.getenv(os.fsencode(name))
    if at:
        ctypes.memset(at, 0, len(ctypes.string_at(at)))


def few_arenas() -> None:
    """Let malloc keep two arenas: each reserves 64 MiB of address space, which a memory limit counts."""
    _libc.mallopt(ctypes.c_int(-8), ctypes.c_int(2))
