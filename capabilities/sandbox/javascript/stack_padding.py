"""Recursion of the engine's own functions, counted so that a script that is too deep gets an error that it can catch.

QuickJS looks at its own stack, which is in the memory of the instance, and throws a RangeError before that is full. Its
local variables are on another stack, which WebAssembly has in the thread and nothing in the engine can look at: when
that one is full the instance ends, with its state. Most functions need enough of the first for it to be full first.
Those that read source and JSON, and some of proxies and iterators, do not: each of them gets a frame on the first
stack that is as much larger. Pure: bytes in, bytes out.
"""

from __future__ import annotations

from collections.abc import Mapping

from capabilities.sandbox.javascript.bake_image import number, read_number, section, sections, signed

PADDING: Mapping[int, int] = {
    933: 96,  # JSON.stringify, of each value
    940: 64,  # JSON.parse, of each value
    990: 448,  # a function's source; what is made of it afterwards takes as much again for each function inside another
    1082: 128,  # a call, member or `new`
    1085: 96,  # an operator of two sides: about eight times for each bracket
    1086: 64,  # an operator of one side
    154: 64,  # setting the prototype of a proxy
    181: 64,  # the prototype of a proxy
    219: 64,  # whether a proxy is extensible
    488: 64,  # making a proxy not extensible
    689: 192,  # construction by a proxy
    911: 160,  # the keys of a proxy
    913: 128,  # deletion from a proxy
    914: 192,  # definition of a property of a proxy
    1126: 320,  # the next value of a generator
    1274: 448,  # toLocaleString of arrays
}
"""Bytes for each call, multiples of 16, by the function's index in the pinned engine (`engine_file.DIGEST`): a quarter
of what it takes of the thread's stack, and some more, since processors differ. Found by looking at what ends instances
(`tests/unit/test_javascript_depth.py`)."""

_TYPE, _IMPORT, _FUNCTION, _CODE = 1, 2, 3, 10
_FUNCTION_FORM, _I32 = 0x60, 0x7F
_GLOBAL_GET, _GLOBAL_SET, _LOCAL_GET, _CALL, _CONST, _ADD, _SUB, _END = 0x23, 0x24, 0x20, 0x10, 0x41, 0x6A, 0x6B, 0x0B
_STACK_POINTER = b"\0"
"""The index of the global that clang keeps its stack's end in, as code has it."""


def padded(module: bytes, padding: Mapping[int, int]) -> bytes:
    """`module` with so many bytes more of its own stack for each call of these functions.

    Each becomes a function that moves the stack's end, calls what it was before, and moves it back.
    """
    bodies = dict(sections(module))
    parameters = _parameters(bodies[_TYPE])
    imported = _imported_functions(bodies[_IMPORT])
    types = _numbers(bodies[_FUNCTION])
    codes = _codes(bodies[_CODE])
    for index, size in padding.items():
        at = index - imported
        codes.append(codes[at])
        types.append(types[at])
        codes[at] = _wrapper(imported + len(codes) - 1, parameters[types[at]], size)
    made = {
        _FUNCTION: number(len(types)) + b"".join(map(number, types)),
        _CODE: number(len(codes)) + b"".join(number(len(code)) + code for code in codes),
    }
    return module[:8] + b"".join(section(kind, made.get(kind, body)) for kind, body in sections(module))


def _wrapper(inner: int, parameters: int, size: int) -> bytes:
    pointer, amount = _STACK_POINTER, bytes([_CONST]) + signed(size)
    code = b"\0"  # no locals of its own
    for operation in (_SUB, _ADD):
        code += bytes([_GLOBAL_GET]) + pointer + amount + bytes([operation, _GLOBAL_SET]) + pointer
        if operation == _SUB:
            code += b"".join(bytes([_LOCAL_GET]) + number(each) for each in range(parameters))
            code += bytes([_CALL]) + number(inner)
    return code + bytes([_END])


def _parameters(body: bytes) -> list[int]:
    """How many parameters each type of function has. ValueError for types of another kind."""
    count, at = read_number(body, 0)
    found = []
    for _ in range(count):
        if body[at] != _FUNCTION_FORM:
            raise ValueError("the module has types that are no functions")
        taken, at = read_number(body, at + 1)
        given, at = read_number(body, at + taken)
        at += given
        found.append(taken)
    return found


def _imported_functions(body: bytes) -> int:
    """How many functions a module imports. ValueError where it imports anything else."""
    count, at = read_number(body, 0)
    for _ in range(count):
        for _ in ("the module", "the name"):
            length, at = read_number(body, at)
            at += length
        if body[at] != 0:
            raise ValueError("the module imports more than functions")
        _, at = read_number(body, at + 1)
    return count


def _numbers(body: bytes) -> list[int]:
    count, at = read_number(body, 0)
    found = []
    for _ in range(count):
        value, at = read_number(body, at)
        found.append(value)
    return found


def _codes(body: bytes) -> list[bytes]:
    count, at = read_number(body, 0)
    found = []
    for _ in range(count):
        size, at = read_number(body, at)
        found.append(body[at : at + size])
        at += size
    return found
