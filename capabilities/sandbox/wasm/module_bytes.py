"""A core module's bytes as far as a snapshot needs them: what state it has, whether all of it can be seen, and the
same module with that state exported.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from capabilities.sandbox.errors import ComponentValidationFailed

_IMPORTS, _FUNCTIONS, _TABLES, _MEMORIES, _GLOBALS, _EXPORTS, _CODE = 2, 3, 4, 5, 6, 7, 10
_HIDDEN = "durable:state:"
"""The beginning of the names that the state is exported as; no source language makes such a name."""

_NONE = {0x00, 0x01, 0x05, 0x0B, 0x0F, 0x1A, 0x1B, 0xD1, *range(0x45, 0xC5)}
_ONE = {0x0C, 0x0D, 0x10, 0x12, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x3F, 0x40, 0xD0, 0xD2, 0x41, 0x42, 2, 3, 4}
_TWO = {0x11, 0x13}
_PREFIXED = {**dict.fromkeys(range(8), 0), 10: 2, 11: 1, 16: 1, 8: 2}
_REFUSED = {
    (0x26, 0): "table.set", (0xFC, 9): "data.drop", (0xFC, 12): "table.init", (0xFC, 13): "elem.drop",
    (0xFC, 14): "table.copy", (0xFC, 15): "table.grow", (0xFC, 17): "table.fill",
}  # fmt: skip
"""State that nobody can read back."""


@dataclass(slots=True)
class ModuleState:
    """The names under which memories and mutable globals can be had. `hidden`: why the rest cannot, "" for none."""

    memories: list[str] = field(default_factory=list)
    globals: list[str] = field(default_factory=list)
    hidden: str = ""


def with_state(data: bytes, name: str = "") -> tuple[bytes, ModuleState]:
    """The module with all its memories and mutable globals exported. ComponentValidationFailed for what is imported
    of them, or cannot be read.
    """
    try:
        return _Module(data).exported()
    except (IndexError, ValueError) as error:
        raise ComponentValidationFailed(name, f"its state cannot be found: {error}") from None


class _Reader:
    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def number(self) -> int:
        """An unsigned LEB128; of a signed one only the length is right."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def text(self) -> bytes:
        size = self.number()
        self.at += size
        return self.data[self.at - size : self.at]


class _Module:
    def __init__(self, data: bytes) -> None:
        self.sections: list[tuple[int, bytes]] = []
        reader = _Reader(data, 8)
        while reader.at < len(data):
            kind = reader.byte()
            self.sections.append((kind, reader.text()))

    def exported(self) -> tuple[bytes, ModuleState]:
        self._check_imports()
        state = ModuleState()
        memories = _Reader(self._body(_MEMORIES)).number() if self._body(_MEMORIES) else 0
        mutable = self._mutable_globals()
        added = [(2, n, f"{_HIDDEN}memory:{n}") for n in range(memories)]
        added += [(3, n, f"{_HIDDEN}global:{n}") for n in mutable]
        state.memories = [name for kind, _, name in added if kind == 2]
        state.globals = [name for kind, _, name in added if kind == 3]
        state.hidden = self._hidden()
        return self._with_exports(added), state

    def _body(self, kind: int) -> bytes:
        return next((body for each, body in self.sections if each == kind), b"")

    def _check_imports(self) -> None:
        reader = _Reader(self._body(_IMPORTS))
        for _ in range(reader.number() if reader.data else 0):
            where, name, kind = reader.text(), reader.text(), reader.byte()
            if kind != 0:
                raise ValueError(f"it imports {where.decode()}.{name.decode()}, which is no function")
            reader.number()

    def _mutable_globals(self) -> list[int]:
        reader = _Reader(self._body(_GLOBALS))
        found = []
        for number in range(reader.number() if reader.data else 0):
            kind, mutable = reader.byte(), reader.byte()
            if mutable and kind not in (0x7C, 0x7D, 0x7E, 0x7F):
                raise ValueError(f"its global {number} holds a reference")
            if mutable:
                found.append(number)
            _skip(reader, one=True)
        return found

    def _hidden(self) -> str:
        """The first instruction that changes what cannot be read back."""
        reader = _Reader(self._body(_CODE))
        for _ in range(reader.number() if reader.data else 0):
            size = reader.number()
            end = reader.at + size
            for _ in range(reader.number()):  # locals
                reader.number()
                reader.byte()
            while reader.at < end:
                refused = _skip(reader)
                if refused:
                    return refused
        return ""

    def _with_exports(self, added: list[tuple[int, int, str]]) -> bytes:
        reader = _Reader(self._body(_EXPORTS))
        count = reader.number() if reader.data else 0
        body = _leb(count + len(added)) + reader.data[reader.at :]
        for kind, number, name in added:
            body += _leb(len(name)) + name.encode() + bytes([kind]) + _leb(number)
        made, placed = bytearray(b"\0asm\x01\0\0\0"), False
        for kind, old in self.sections:
            if not placed and (kind == _EXPORTS or (kind > _EXPORTS and kind != 13)):
                made += bytes([_EXPORTS]) + _leb(len(body)) + body
                placed = True
            if kind != _EXPORTS:
                made += bytes([kind]) + _leb(len(old)) + old
        if not placed:
            made += bytes([_EXPORTS]) + _leb(len(body)) + body
        return bytes(made)


def _skip(reader: _Reader, *, one: bool = False) -> str:
    """Pass one instruction, or a whole expression; the name of one that is refused."""
    while True:
        code = reader.byte()
        if code in _ONE:
            reader.number()
        elif code in _TWO:
            reader.number()
            reader.number()
        elif 0x28 <= code <= 0x3E:
            if reader.number() & 0x40:
                reader.number()
            reader.number()
        elif code == 0x0E:
            for _ in range(reader.number() + 1):
                reader.number()
        elif code == 0x1C:
            for _ in range(reader.number()):
                reader.byte()
        elif code in (0x43, 0x44):
            reader.at += 4 if code == 0x43 else 8
        elif code == 0xFC or code == 0x26:
            prefixed = reader.number() if code == 0xFC else 0
            if (code, prefixed) in _REFUSED:
                return _REFUSED[code, prefixed]
            for _ in range(_PREFIXED[prefixed]):
                reader.number()
        elif code not in _NONE:
            raise ValueError(f"instruction {code:#x} is not known")
        if not one or code == 0x0B:
            return ""


def _leb(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
