"""Codecs of WIT types: made once for a type, they read and write wasmtime's own values (`values` says as what).

What a codec writes is whole at each moment, so that whatever fails in between is freed by whoever made it.
"""

from __future__ import annotations

import base64
import ctypes
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from wasmtime import _ffi as ffi
from wasmtime.component import ResourceType
from wasmtime.component import _types as wit

from capabilities.sandbox.errors import ExecutionFailed
from capabilities.sandbox.wasm.wit_values import Err, Misfit, Ok, Some, Variant

LOOK_VALUES_MAX = 1_000
"""Values of a list that are read between two looks at the clock: a million take Python seconds."""
VAL_BYTES = ctypes.sizeof(ffi.wasmtime_component_val_t)
_AT = ffi.wasmtime_component_val_t.of.offset


class Resources(Protocol):
    """Handles of one store."""

    def lend(self, value: Any, kind: ResourceType, *, owned: bool) -> Any:
        """The C handle of a Python value; Misfit."""

    def take(self, pointer: Any) -> Any:
        """The Python value of a C handle, which stays the other side's."""

    def going(self) -> None:
        """Check that the call has time left: asked while many values are read. WasmtimeError."""


class Codec(Protocol):
    """One type, both ways."""

    def lower(self, value: Any, into: Any, resources: Resources) -> None:
        """Write a value; `into` is a `false` that can be freed at each moment. Misfit."""

    def lift(self, val: Any, resources: Resources) -> Any:
        """Read a value, and leave it to whoever frees it."""


def codec(ty: Any) -> Codec:
    """The codec of a type. ExecutionFailed for what has no value here (streams, futures)."""
    make = _MAKERS.get(type(ty))
    if make is None:
        raise ExecutionFailed("component", f"values of {type(ty).__name__} cannot be given or taken here")
    return make(ty)


def _name(text: str) -> Any:
    return ffi.str_to_capi(text)


def _text(name: Any) -> str:
    return ctypes.string_at(name.data, name.size).decode() if name.size else ""


def _boxed(put: Callable[[Any], None]) -> Any:
    """A payload of its own, `false` at first and attached before anything can fail."""
    box = ffi.wasmtime_component_val_new(ctypes.byref(ffi.wasmtime_component_val_t()))
    put(box)
    return box.contents


@dataclass(frozen=True, slots=True)
class _Number:
    name: str
    kind: int
    field: str
    form: str
    least: int = 0
    most: int = 0

    def lower(self, value: Any, into: Any, resources: Resources) -> None:  # noqa: ARG002
        into.kind = self.kind
        setattr(into.of, self.field, self.checked(value))

    def checked(self, value: Any) -> int | float:
        if self.form in "fd":
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise Misfit(f"{_shown(value)} is no {self.name}")
            try:
                number = struct.pack(f"<{self.form}", value) and float(value)
            except OverflowError:
                raise Misfit(f"{_shown(value)} is no {self.name}: it is too large") from None
            assert isinstance(number, float)
            return number
        if isinstance(value, bool) or not isinstance(value, int):
            raise Misfit(f"{_shown(value)} is no {self.name}")
        if not self.least <= value <= self.most:
            raise Misfit(f"{value} is no {self.name}: {self.least} to {self.most}")
        return value

    def lift(self, val: Any, resources: Resources) -> Any:  # noqa: ARG002
        return getattr(val.of, self.field)

    @property
    def packed(self) -> struct.Struct:
        """A whole value with this number in it."""
        size = struct.calcsize(self.form)
        return struct.Struct(f"<B{_AT - 1}x{self.form}{VAL_BYTES - _AT - size}x")


class _Bool:
    def lower(self, value: Any, into: Any, resources: Resources) -> None:  # noqa: ARG002
        if not isinstance(value, bool):
            raise Misfit(f"{_shown(value)} is no bool")
        into.kind = _KIND["BOOL"]
        into.of.boolean = value

    def lift(self, val: Any, resources: Resources) -> Any:  # noqa: ARG002
        return bool(val.of.boolean)


class _Char:
    def lower(self, value: Any, into: Any, resources: Resources) -> None:  # noqa: ARG002
        if not isinstance(value, str) or len(value) != 1 or 0xD800 <= ord(value) < 0xE000:
            raise Misfit(f"{_shown(value)} is no char: one character, which is no surrogate")
        into.kind = _KIND["CHAR"]
        into.of.character = ord(value)

    def lift(self, val: Any, resources: Resources) -> Any:  # noqa: ARG002
        return chr(val.of.character)


class _String:
    def lower(self, value: Any, into: Any, resources: Resources) -> None:  # noqa: ARG002
        if not isinstance(value, str):
            raise Misfit(f"{_shown(value)} is no string")
        try:
            name = _name(value)
        except UnicodeEncodeError:
            raise Misfit("the string holds a lone surrogate, which is no Unicode") from None
        into.of.string = name
        into.kind = _KIND["STRING"]

    def lift(self, val: Any, resources: Resources) -> Any:  # noqa: ARG002
        return _text(val.of.string)


@dataclass(frozen=True, slots=True)
class _List:
    element: Codec

    def lower(self, value: Any, into: Any, resources: Resources) -> None:
        element = self.element
        is_bytes = isinstance(element, _Number) and element.name == "u8"
        if is_bytes and isinstance(value, bytes | bytearray | memoryview):
            value = bytes(value)
        elif is_bytes and isinstance(value, Mapping) and list(value) == ["base64"]:
            value = _unpacked(value["base64"])
        elif isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
            raise Misfit(f"{_shown(value)} is no list")
        found = into.of.list
        ffi.wasmtime_component_vallist_new_uninit(ctypes.byref(found), len(value))
        ctypes.memset(found.data, 0, len(value) * VAL_BYTES)
        into.kind = _KIND["LIST"]
        if isinstance(element, _Number):
            data = _packed_bytes(value) if isinstance(value, bytes) else _packed(element, value)
            ctypes.memmove(found.data, data, len(data))
            return
        for place, each in enumerate(value):
            try:
                element.lower(each, found.data[place], resources)
            except Misfit as misfit:
                raise misfit.at(f"[{place}]") from None

    def lift(self, val: Any, resources: Resources) -> Any:
        found, element = val.of.list, self.element
        if isinstance(element, _Number):
            raw = ctypes.string_at(found.data, found.size * VAL_BYTES) if found.size else b""
            if element.name == "u8":
                return raw[_AT::VAL_BYTES]
            return [each[1] for each in element.packed.iter_unpack(raw)]
        values = []
        for place in range(found.size):
            if place % LOOK_VALUES_MAX == 0:
                resources.going()
            values.append(element.lift(found.data[place], resources))
        return values


_BYTES = [struct.pack(f"<B{_AT - 1}xB{VAL_BYTES - _AT - 1}x", ffi.WASMTIME_COMPONENT_U8.value, n) for n in range(256)]


def _unpacked(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        raise Misfit(f"{_shown(text)} is no base64") from None


def _packed_bytes(data: bytes) -> bytes:
    return b"".join([_BYTES[each] for each in data])


def _packed(element: _Number, value: Sequence[Any]) -> bytes:
    made, pack = [], element.packed.pack
    for place, each in enumerate(value):
        try:
            made.append(pack(element.kind, element.checked(each)))
        except Misfit as misfit:
            raise misfit.at(f"[{place}]") from None
    return b"".join(made)


@dataclass(frozen=True, slots=True)
class _Tuple:
    elements: tuple[Codec, ...]

    def lower(self, value: Any, into: Any, resources: Resources) -> None:
        if not isinstance(value, tuple | list) or len(value) != len(self.elements):
            raise Misfit(f"{_shown(value)} is no tuple of {len(self.elements)}")
        found = into.of.tuple
        ffi.wasmtime_component_valtuple_new_uninit(ctypes.byref(found), len(value))
        ctypes.memset(found.data, 0, len(value) * VAL_BYTES)
        into.kind = _KIND["TUPLE"]
        for place, (element, each) in enumerate(zip(self.elements, value, strict=True)):
            try:
                element.lower(each, found.data[place], resources)
            except Misfit as misfit:
                raise misfit.at(f"[{place}]") from None

    def lift(self, val: Any, resources: Resources) -> Any:
        data = val.of.tuple.data
        return tuple(element.lift(data[place], resources) for place, element in enumerate(self.elements))


@dataclass(frozen=True, slots=True)
class _Record:
    fields: tuple[tuple[str, str, Codec], ...]
    """As WIT has the name, as Python has it, and its codec."""

    def lower(self, value: Any, into: Any, resources: Resources) -> None:
        given = self._given(value)
        found = into.of.record
        ffi.wasmtime_component_valrecord_new_uninit(ctypes.byref(found), len(self.fields))
        ctypes.memset(found.data, 0, len(self.fields) * ctypes.sizeof(ffi.wasmtime_component_valrecord_entry_t))
        into.kind = _KIND["RECORD"]
        for place, (name, _, inner) in enumerate(self.fields):
            found.data[place].name = _name(name)
            try:
                inner.lower(given[place], found.data[place].val, resources)
            except Misfit as misfit:
                raise misfit.at(f".{name}") from None

    def _given(self, value: Any) -> list[Any]:
        if isinstance(value, Mapping):
            known = {name for pair in self.fields for name in pair[:2]}
            unknown = sorted(str(key) for key in value if key not in known)
            if unknown:
                raise Misfit(f"there is no field {unknown[0]!r}; there are {', '.join(f[0] for f in self.fields)}")
            found = [value.get(python, value.get(name, _ABSENT)) for name, python, _ in self.fields]
        else:
            found = [getattr(value, python, _ABSENT) for _, python, _ in self.fields]
        for (name, _, _), each in zip(self.fields, found, strict=True):
            if each is _ABSENT:
                raise Misfit(f"field {name!r} is missing in {_shown(value)}")
        return found

    def lift(self, val: Any, resources: Resources) -> Any:
        data = val.of.record.data
        return {python: inner.lift(data[place].val, resources) for place, (_, python, inner) in enumerate(self.fields)}


@dataclass(frozen=True, slots=True)
class _Enum:
    names: tuple[str, ...]

    def lower(self, value: Any, into: Any, resources: Resources) -> None:  # noqa: ARG002
        into.of.enumeration = _name(_case(value, self.names))
        into.kind = _KIND["ENUM"]

    def lift(self, val: Any, resources: Resources) -> Any:  # noqa: ARG002
        return _text(val.of.enumeration)


@dataclass(frozen=True, slots=True)
class _Flags:
    names: tuple[str, ...]

    def lower(self, value: Any, into: Any, resources: Resources) -> None:  # noqa: ARG002
        if isinstance(value, str) or not isinstance(value, set | frozenset | list | tuple):
            raise Misfit(f"{_shown(value)} is no set of flags")
        given = sorted({_case(each, self.names) for each in value}, key=self.names.index)
        found = into.of.flags
        ffi.wasmtime_component_valflags_new_uninit(ctypes.byref(found), len(given))
        for place, each in enumerate(given):
            found.data[place] = _name(each)
        into.kind = _KIND["FLAGS"]

    def lift(self, val: Any, resources: Resources) -> Any:  # noqa: ARG002
        found = val.of.flags
        return frozenset(_text(found.data[place]) for place in range(found.size))


@dataclass(frozen=True, slots=True)
class _Variant:
    cases: dict[str, Codec | None]

    def lower(self, value: Any, into: Any, resources: Resources) -> None:
        if isinstance(value, str):
            value = Variant(value)
        elif isinstance(value, Mapping) and "tag" in value and set(value) <= {"tag", "value"}:
            value = Variant(value["tag"], value.get("value"))
        if not isinstance(value, Variant):
            raise Misfit(f"{_shown(value)} is no Variant of {', '.join(self.cases)}")
        tag = _case(value.tag, tuple(self.cases))
        inner = self.cases[tag]
        into.of.variant.discriminant = _name(tag)
        into.of.variant.val = None
        into.kind = _KIND["VARIANT"]
        _payload(inner, value.value, lambda box: setattr(into.of.variant, "val", box), resources, tag)

    def lift(self, val: Any, resources: Resources) -> Any:
        tag = _text(val.of.variant.discriminant)
        inner = self.cases[tag]
        return Variant(tag, None if inner is None else inner.lift(val.of.variant.val.contents, resources))


@dataclass(frozen=True, slots=True)
class _Option:
    inner: Codec

    def lower(self, value: Any, into: Any, resources: Resources) -> None:
        nested = isinstance(self.inner, _Option)
        if nested and isinstance(value, Mapping) and list(value) == ["some"]:
            value = Some(value["some"])
        if nested and value is not None and not isinstance(value, Some):
            raise Misfit(f"{_shown(value)} is neither None nor Some(value), as an option of an option is")
        into.of.option = None
        into.kind = _KIND["OPTION"]
        if value is not None:
            given = value.value if isinstance(value, Some) else value
            self.inner.lower(given, _boxed(lambda box: setattr(into.of, "option", box)), resources)

    def lift(self, val: Any, resources: Resources) -> Any:
        if not val.of.option:
            return None
        value = self.inner.lift(val.of.option.contents, resources)
        return Some(value) if isinstance(self.inner, _Option) else value


@dataclass(frozen=True, slots=True)
class _Result:
    ok: Codec | None
    err: Codec | None

    def lower(self, value: Any, into: Any, resources: Resources) -> None:
        if isinstance(value, Mapping) and list(value) in (["ok"], ["err"]):
            value = Ok(value["ok"]) if "ok" in value else Err(value["err"])
        if not isinstance(value, Ok | Err):
            raise Misfit(f"{_shown(value)} is neither Ok(value) nor Err(value)")
        good = isinstance(value, Ok)
        into.of.result.is_ok = good
        into.of.result.val = None
        into.kind = _KIND["RESULT"]
        inner, tag = (self.ok, "ok") if good else (self.err, "err")
        _payload(inner, value.value, lambda box: setattr(into.of.result, "val", box), resources, tag)

    def lift(self, val: Any, resources: Resources) -> Any:
        good = bool(val.of.result.is_ok)
        inner = self.ok if good else self.err
        value = None if inner is None else inner.lift(val.of.result.val.contents, resources)
        return Ok(value) if good else Err(value)


@dataclass(frozen=True, slots=True)
class _Handle:
    kind: Any
    owned: bool

    def lower(self, value: Any, into: Any, resources: Resources) -> None:
        into.of.resource = resources.lend(value, self.kind, owned=self.owned)
        into.kind = _KIND["RESOURCE"]

    def lift(self, val: Any, resources: Resources) -> Any:
        return resources.take(val.of.resource)


def _payload(inner: Codec | None, value: Any, put: Callable[[Any], None], resources: Resources, tag: str) -> None:
    if inner is None:
        if value is not None:
            raise Misfit(f"case {tag!r} has no value, {_shown(value)} was given")
        return
    try:
        inner.lower(value, _boxed(put), resources)
    except Misfit as misfit:
        raise misfit.at(f".{tag}") from None


def _case(value: Any, names: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in names:
        raise Misfit(f"{_shown(value)} is none of {', '.join(names)}")
    return value


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str | int | float | bytes | None) else f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}…"


_ABSENT: Any = object()
_KIND = {
    name: getattr(ffi, f"WASMTIME_COMPONENT_{name}").value
    for name in (
        "BOOL", "S8", "U8", "S16", "U16", "S32", "U32", "S64", "U64", "F32", "F64", "CHAR", "STRING", "LIST",
        "RECORD", "TUPLE", "VARIANT", "ENUM", "OPTION", "RESULT", "FLAGS", "RESOURCE",
    )
}  # fmt: skip


def _number(name: str, form: str) -> Callable[[Any], Codec]:
    bits = int(name[1:])
    least, most = (0, 2**bits - 1) if name[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    made = _Number(name, _KIND[name.upper()], name, form, least, most)
    return lambda _: made


def _optional(ty: Any) -> Codec | None:
    return None if ty is None else codec(ty)


_MAKERS: dict[type, Callable[[Any], Codec]] = {
    wit.Bool: lambda _: _Bool(),
    wit.Char: lambda _: _Char(),
    wit.String: lambda _: _String(),
    wit.S8: _number("s8", "b"),
    wit.U8: _number("u8", "B"),
    wit.S16: _number("s16", "h"),
    wit.U16: _number("u16", "H"),
    wit.S32: _number("s32", "i"),
    wit.U32: _number("u32", "I"),
    wit.S64: _number("s64", "q"),
    wit.U64: _number("u64", "Q"),
    wit.F32: _number("f32", "f"),
    wit.F64: _number("f64", "d"),
    wit.ListType: lambda ty: _List(codec(ty.element)),
    wit.TupleType: lambda ty: _Tuple(tuple(codec(each) for each in ty.elements)),
    wit.RecordType: lambda ty: _Record(tuple((n, n.replace("-", "_"), codec(t)) for n, t in ty.fields)),
    wit.EnumType: lambda ty: _Enum(tuple(ty.names)),
    wit.FlagsType: lambda ty: _Flags(tuple(ty.names)),
    wit.VariantType: lambda ty: _Variant({name: _optional(inner) for name, inner in ty.cases}),
    wit.OptionType: lambda ty: _Option(codec(ty.payload)),
    wit.ResultType: lambda ty: _Result(_optional(ty.ok), _optional(ty.err)),
    wit.OwnType: lambda ty: _Handle(ty.ty, True),
    wit.BorrowType: lambda ty: _Handle(ty.ty, False),
}


@dataclass(frozen=True, slots=True)
class Signature:
    """A function's parameters by name, and its result."""

    params: tuple[tuple[str, Codec], ...]
    result: Codec | None

    @classmethod
    def of(cls, ty: wit.FuncType) -> Signature:
        """The signature of a function's type."""
        return cls(tuple((name, codec(each)) for name, each in ty.params), _optional(ty.result))

    @property
    def fallible(self) -> bool:
        """Whether the function gives a result, whose Err is raised."""
        return isinstance(self.result, _Result)
