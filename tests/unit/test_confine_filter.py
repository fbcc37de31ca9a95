"""The system call filter, run by a small interpreter of its own instead of the kernel."""

from __future__ import annotations

import errno
import socket
import struct

import pytest

from bridge.confine.seccomp import CONDITIONS, NO_MORE_CPU, REFUSED, program
from bridge.confine.syscall_numbers import LAST_KNOWN, MACHINES, Machine

ALLOWED = "allowed"
KILLED = "killed"


def run(steps: bytes, architecture: int, number: int, *arguments: int) -> str:
    """What the kernel would do: classic BPF over struct seccomp_data."""
    data = struct.pack("=iIQ6Q", number, architecture, 0, *(value & 2**64 - 1 for value in (*arguments, *[0] * 6)[:6]))
    value, at = 0, 0
    while True:
        code, yes, no, operand = struct.unpack_from("=HBBI", steps, 8 * at)
        at += 1
        if code == 0x20:
            (value,) = struct.unpack_from("=I", data, operand)
        elif code == 0x06:
            return {0x7FFF: ALLOWED, 0x8000: KILLED}.get(operand >> 16) or errno.errorcode[operand & 0xFFFF]
        else:
            held = {0x15: value == operand, 0x25: value > operand, 0x45: bool(value & operand)}[code]
            at += yes if held else no


@pytest.fixture(params=MACHINES)
def machine(request: pytest.FixtureRequest) -> Machine:
    return MACHINES[request.param]


def test_isolated(machine: Machine) -> None:
    steps = program(machine, REFUSED, CONDITIONS, strict=True)

    def call(name: str, *arguments: int) -> str:
        return run(steps, machine.architecture, machine.calls[name], *arguments)

    for name in REFUSED:
        if name in machine.calls:
            assert call(name) == "EPERM", name
    assert call("socket", socket.AF_UNIX, 1) == ALLOWED
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET, socket.AF_VSOCK):
        assert call("socket", family, 1) == "EACCES"
    assert call("clone", 17) == ALLOWED
    assert call("clone", 17 | 0x10000000) == "EPERM"
    assert call("clone3") == "ENOSYS"
    for name in ("sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr"):
        assert call(name, 0) == ALLOWED
        assert call(name, 4711) == "EPERM"
    assert call("prlimit64", 0, 7, 0x1000) == ALLOWED
    assert call("prlimit64", 4711, 7) == "EPERM"
    assert call("ioctl", 0, 0x5412) == "EPERM"
    assert call("ioctl", 0, 0x5413) == ALLOWED


def test_only_the_engine_moves_the_cpu_limit(machine: Machine) -> None:
    steps = program(machine, (), NO_MORE_CPU, strict=False)

    def call(name: str, *arguments: int) -> str:
        return run(steps, machine.architecture, machine.calls[name], *arguments)

    assert call("setrlimit", 0, 0x1000) == "EPERM"
    assert call("setrlimit", 7, 0x1000) == ALLOWED
    assert call("prlimit64", 0, 0, 0, 0x1000) == ALLOWED  # only asks
    assert call("prlimit64", 0, 0, 0x1000) == "EPERM"
    assert call("prlimit64", 0, 0, 1 << 32) == "EPERM"  # a pointer whose low half is 0
    assert call("mount") == ALLOWED


def test_other_calls_are_no_way_around(machine: Machine) -> None:
    strict = program(machine, REFUSED, CONDITIONS, strict=True)
    loose = program(machine, (), NO_MORE_CPU, strict=False)
    assert run(strict, 0x40000003, 11) == KILLED  # those of a 32-bit process have other numbers
    assert run(loose, 0x40000003, 11) == KILLED
    assert run(strict, machine.architecture, LAST_KNOWN + 1) == "ENOSYS"
    assert run(loose, machine.architecture, LAST_KNOWN + 1) == ALLOWED
    assert run(loose, machine.architecture, 0x40000000 | machine.calls["setrlimit"]) == "ENOSYS"  # x32
    assert run(strict, machine.architecture, 0) == ALLOWED
