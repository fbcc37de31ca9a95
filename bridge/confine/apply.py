"""Confine this process, for good: called by a worker once it knows what it may, before any code of a user runs.

The order is the argument (specs/isolation.md, Steps): namespaces and the tree while it still may, then another user,
then no capabilities, then Landlock, limits and the filter, each of which can only be made stricter afterwards.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bridge.confine import landlock, seccomp, syscalls
from bridge.confine.confinement import Confinement, kept_environment
from bridge.confine.filesystem import DEVICES, SESSION, SHARED_MEMORY, Tree, map_user
from bridge.confine.limits import Limits
from durable.core.errors import Unenforceable

NOBODY = 65_534
"""Whom an isolated worker of a root engine becomes: limits of processes do not bind the user 0."""

OWN_TASKS_MAX = 4
"""Of the worker itself, beside the `processes` of its code: main thread, output thread, the two of a capture."""

_NAMESPACES = os.CLONE_NEWNS | os.CLONE_NEWNET | os.CLONE_NEWIPC | os.CLONE_NEWUTS

_CORE_NONE = (1, 1)
"""No core dump: 0 would not stop a kernel that pipes them to a program."""


@contextmanager
def _step(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unenforceable([f"{what} ({error.strerror or error})"]) from error


def confine(what: Confinement, inherited: Iterable[int] = ()) -> None:
    """Apply it to this process, which must have one thread. `inherited` descriptors are closed if it is isolated.

    Raises Unenforceable with what the kernel refused; the process is then half confined and has to end.
    """
    if what.profile == "isolated":
        _clean_environment()
        for fd in inherited:
            os.close(fd)
        tree = _enter_namespaces(what)
        with _step("no capabilities, no new privileges"):
            syscalls.drop_capabilities()
            syscalls.no_new_privileges()
        with _step("Landlock"):
            landlock.restrict(_rules(tree.read_only))
        _limit(what.limits)
        with _step("a system call filter (seccomp)"):
            seccomp.install(seccomp.REFUSED, seccomp.CONDITIONS, strict=True)
    else:
        _hold_limits(what.limits)


def _hold_limits(limits: Limits) -> None:
    """The open profile: nothing is hidden, but its limits cannot be raised again."""
    root = os.getuid() == 0
    if limits.processes is not None:
        if root:
            raise Unenforceable(["processes: they do not bind the user 0; ask for the profile 'isolated'"])
        with _step("user namespaces, to count the session's processes apart"):
            uid, gid = os.getuid(), os.getgid()
            os.unshare(os.CLONE_NEWUSER)
            map_user("/proc/self", uid, gid)
            syscalls.drop_capabilities()
    with _step("no new privileges"):
        if root:
            syscalls.drop_capabilities(~(1 << syscalls.CAP_SYS_RESOURCE))
        syscalls.no_new_privileges()
    _limit(limits)
    with _step("a system call filter (seccomp)"):
        seccomp.install((), seccomp.NO_MORE_CPU, strict=False)


def _enter_namespaces(what: Confinement) -> Tree:
    uid, gid = os.getuid(), os.getgid()
    wanted = 1 << syscalls.CAP_SYS_ADMIN | 1 << syscalls.CAP_SETUID
    privileged = syscalls.effective_capabilities() & wanted == wanted
    with _step("a directory of its own"):
        tree = Tree(what.directory, what.limits.disk)
        if privileged and uid == 0:
            uid = gid = NOBODY
            tree.give_to(NOBODY)
        elif uid == 0:
            raise Unenforceable(["the rights of root (CAP_SYS_ADMIN and CAP_SETUID), which this root does not have"])
    with _step("user, mount, network and IPC namespaces"):
        if privileged:
            os.unshare(_NAMESPACES)
        else:
            os.unshare(_NAMESPACES | os.CLONE_NEWUSER)
            map_user("/proc/self", uid, gid)
    with _step("mounts of its own"):
        tree.enter()
    with _step("a user of its own"):
        if privileged:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            syscalls.set_dumpable()
            os.unshare(os.CLONE_NEWUSER)
            tree.map_user(uid, gid)
        syscalls.set_dumpable()  # its engine, and only that, opens the pipes of its captures
        tree.close()
    return tree


def _rules(read_only: Iterable[str]) -> Iterator[tuple[str, int]]:
    for path in (*read_only, "/proc/self"):
        yield path, landlock.READ
    yield SESSION, landlock.WRITE
    yield SHARED_MEMORY, landlock.WRITE & ~landlock.EXECUTE
    for device in DEVICES:
        yield device, landlock.DEVICE


def _limit(limits: Limits) -> None:
    with _step("resource limits"):
        resource.setrlimit(resource.RLIMIT_CORE, _CORE_NONE)
        if limits.memory is not None:
            syscalls.few_arenas()
            mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            _set(resource.RLIMIT_DATA, limits.memory)  # what it may write to, privately
            _set(resource.RLIMIT_AS, mapped + limits.memory)  # and shared
        if limits.files is not None:
            _set(resource.RLIMIT_NOFILE, limits.files)
        if limits.processes is not None:
            _set(resource.RLIMIT_NPROC, limits.processes + OWN_TASKS_MAX)


def _set(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))


def _clean_environment() -> None:
    for name in os.environ.keys() - kept_environment(os.environ).keys():
        syscalls.wipe_environment(name)
        del os.environ[name]
    os.environ["HOME"] = os.environ["TMPDIR"] = SESSION
