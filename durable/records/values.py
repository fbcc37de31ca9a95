"""Values at the durability boundary: Python to JSON and back, by annotation, and digests of arguments.

JSON is what the record holds, so a value read back is the same whether it was just made or replayed. Models are
pydantic's, so models, dataclasses, datetimes, enums, sets and tuples come back as their annotation says.

`encode` is for what a durable function keeps: what JSON has not stands there in the notation of `notation.py`.
`to_json` is for what others read too (inputs of cells, answers, calls): plain JSON alone, or NotEncodable.
`from_json` reads both.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import io
import itertools
import math
import reprlib
from collections import deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    ItemsView,
    Iterator,
    KeysView,
    Mapping,
    Sequence,
    ValuesView,
)
from contextlib import suppress
from enum import Enum, StrEnum
from functools import lru_cache
from pathlib import Path, PurePath
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    NewType,
    TypeAliasType,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from durable.core.errors import BadArguments, NotEncodable
from durable.core.limits import INT_BITS_MAX, VALUE_BYTES_MAX, VALUE_DEPTH_MAX
from durable.core.value_codec import unseal
from durable.records import notation
from durable.records.set_order import is_left_unsorted, may_hold_sets, order_of, with_sorted_sets

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

JSON_BYTES_MAX = VALUE_BYTES_MAX * 3 // 4 - 2**10
"""Bytes that fit into a promise once they are base64, with room for what the record adds."""

type Json = bool | int | float | str | list[Json] | dict[str, Json] | None

REMEDY = "Return JSON values, dataclasses or pydantic models, or write the data to a file and return its path."


class Form(StrEnum):
    """How what JSON has not is written."""

    PLAIN = "plain"
    """As pydantic writes it: what reads it back has to know from the annotation what it was."""
    NOTED = "noted"
    """Bytes, NaN, large numbers and keys that are no strings in the notation, the rest plain."""
    TYPED = "typed"
    """Everything in the notation."""


def to_json(value: object, what: str) -> Any:
    """`value` as plain JSON builtins; raises NotEncodable naming `what`, the place inside it and what does not fit."""
    if _is_simple(value):
        return value
    if isinstance(value, bytes):
        return notation.text_of(value)  # inside models and containers bytes are as pydantic has them
    return _Writer(what, Form.PLAIN).write(value)


def code_to_json(code: str, inputs: Mapping[str, Any] | None) -> dict[str, Any]:
    """The inputs of a cell's code as JSON builtins. NotEncodable for them, their names and the code, BadArguments."""
    if not isinstance(code, str):
        raise BadArguments(f"code is text, not {type(code).__name__}")
    if not isinstance(inputs, Mapping | None) or not all(isinstance(name, str) for name in inputs or ()):
        raise BadArguments(f"inputs are values by name, not {inputs!r:.80}")
    to_json(code, "the code")
    return {
        to_json(name, "the name of an input"): to_json(value, f"input {name!r}")
        for name, value in (inputs or {}).items()
    }


def encode(value: object, what: str, annotation: Any = inspect.Parameter.empty) -> Any:
    """`value` as JSON builtins from which `from_json(…, annotation)` gives an equal value of the same type.

    Without an annotation bytes, NaN and keys that are no strings come back; tuples, sets, dates and models come back as
    plain JSON has them. Raises NotEncodable naming `what` and the place inside it, also where keys would collide.
    """
    certain = _is_certain(annotation)
    if certain and _is_simple(value):
        return value
    writer = _Writer(what, Form.NOTED)
    noted = writer.write(value)
    if (writer.exact and certain) or adapter_of(annotation) is None:
        return noted
    for form in (Form.PLAIN, Form.NOTED) if _is_open(annotation) else Form:
        try:
            written = noted if form is Form.NOTED else _written(value, what, form, annotation)
            if _same(from_json(written, annotation, what), value):
                return written
        except (NotEncodable, BadArguments):
            continue
    return noted  # the annotation is of something else, or its objects cannot be compared


def _written(value: object, what: str, form: Form, annotation: Any) -> Any:
    if form is Form.PLAIN and isinstance(value, bytes) and _names_bytes(annotation):
        return notation.text_of(value)
    written = _Writer(what, form).write(value)
    return notation.noted("value", written) if form is Form.TYPED else written


_OPEN: tuple[object, ...] = (Any, object, inspect.Parameter.empty, list, dict, tuple, set, frozenset, deque)

_CERTAIN: frozenset[object] = frozenset(
    {
        *notation.TYPED,
        None,
        type(None),
        bool,
        int,
        float,
        str,
        bytes,
        list,
        dict,
        tuple,
        set,
        frozenset,
        deque,
        PurePath,
    }
    | {Any, object, inspect.Parameter.empty, Path, bytearray, memoryview}
)


def _is_open(annotation: Any) -> bool:
    """Whether an annotation leaves a part open (`Any`, a bare `list`): that part is as without an annotation."""
    if annotation in _OPEN:
        return True
    return any(_is_open(member) for member in get_args(annotation) if not isinstance(member, list | str | bytes))


def _is_certain(annotation: Any) -> bool:
    """Whether plain JSON can only be read as one thing under the annotation: no unions but with None, no fields."""
    try:
        return _certain(annotation)
    except TypeError:  # an unhashable annotation
        return False


@lru_cache(maxsize=1024)
def _certain(annotation: Any) -> bool:
    if annotation in _CERTAIN or isinstance(annotation, str):
        return True
    if isinstance(annotation, UnionType) or get_origin(annotation) is Union:
        members = [member for member in get_args(annotation) if member is not type(None)]
        return len(members) == 1 and _is_certain(members[0])
    if get_origin(annotation) in _CERTAIN:
        return all(_is_certain(member) for member in get_args(annotation) if member is not ...)
    return isinstance(annotation, type) and issubclass(annotation, Enum)


def _is_simple(value: object) -> bool:
    """Whether it is its own JSON, at a glance."""
    kind = type(value)
    return (
        value is None
        or kind is bool
        or (kind is int and -(2**63) <= cast(int, value) < 2**63)
        or (kind is str and len(cast(str, value)) < 1000 and cast(str, value).isascii())
    )


class _Refused(Exception):
    """Why a value has no JSON; the way to it grows while this is raised through its containers."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps: list[object] = []

    def within(self, step: object) -> _Refused:
        self.steps.append(step)
        return self


class _OnceOnly(_Refused):
    """A value that gives its items once: nothing else of it is tried."""


def _place(root: str, steps: list[object]) -> str:
    """The way to a place inside a value, as in `result.items[3].price`."""
    text = "".join(
        f".{step}" if isinstance(step, str) and step.isidentifier() else f"[{_repr(step)}]" for step in steps
    )
    return root + (text if len(text) < 300 else f"{text[:150]} … {text[-150:]}")


def _repr(value: object) -> str:
    """The value's repr, cut; that of the user's classes may fail, and Python refuses it of large numbers."""
    try:
        return reprlib.repr(value)
    except Exception:
        return f"<{_name(type(value))}>"


def _root(what: str) -> str:
    return "result" if what.startswith("the result") else "value"


class _Writer:
    """Writes one value as JSON builtins. `exact` says afterwards whether JSON had all of it."""

    def __init__(self, what: str, form: Form) -> None:
        self._what = what
        self._form = form
        self.exact = True

    def write(self, value: object) -> Any:
        try:
            written = self._any(value, 0)
            text = _text(written)
        except RecursionError:
            raise NotEncodable(f"{self._what} cannot be recorded: it is nested too deeply. {REMEDY}") from None
        except _Refused as refused:
            at = f" at {_place(_root(self._what), refused.steps[::-1])}" if refused.steps else ""
            raise NotEncodable(f"{self._what} cannot be recorded{at}: {refused.reason}") from None
        if len(text) > JSON_BYTES_MAX:
            raise NotEncodable(
                f"{self._what} is too large to be recorded: {len(text)} bytes of JSON, at most {JSON_BYTES_MAX} fit "
                "into a promise. Write the data to a file and return its path."
            )
        return written

    def _any(self, value: object, depth: int) -> Any:
        kind = type(value)
        if value is None or kind is str or kind is bool:
            return value
        if kind is int:
            return self._int(cast(int, value))
        if kind is float:
            return self._float(cast(float, value))
        if depth >= VALUE_DEPTH_MAX:
            raise _Refused(
                f"it is nested deeper than {VALUE_DEPTH_MAX} levels, or holds itself. Return it flat, "
                "or write the data to a file and return its path."
            )
        if kind is list:
            return self._list(cast("list[object]", value), depth)
        if kind is dict:
            return self._dict(cast("dict[object, object]", value), depth)
        self.exact = False
        return self._other(value, depth)

    def _int(self, value: int) -> Any:
        if -(2**63) <= value < 2**63 or value.bit_length() <= INT_BITS_MAX:
            return value
        self.exact = False
        if self._form is Form.PLAIN:
            raise _Refused(f"a whole number of {value.bit_length()} bits; at most {INT_BITS_MAX} are JSON here")
        return notation.noted("int", hex(value))

    def _float(self, value: float) -> Any:
        if math.isfinite(value):
            return value
        self.exact = False
        if self._form is Form.PLAIN:
            raise _Refused("NaN and infinity are not JSON; use None or a string")
        return notation.noted_float(value)

    def _list(self, value: list[object] | tuple[object, ...], depth: int) -> list[Any]:
        written = []
        for item in value:
            try:
                written.append(self._any(item, depth + 1))
            except _Refused as refused:
                raise refused.within(len(written)) from None
        return written

    def _dict(self, value: Mapping[Any, object], depth: int) -> Any:
        written: dict[str, Any] = {}
        for key, item in value.items():
            if type(key) is not str:
                return self._dict_of_keys(value, depth)
            try:
                written[key] = self._any(item, depth + 1)
            except _Refused as refused:
                raise refused.within(key) from None
        if self._form is not Form.PLAIN and notation.kind_of(written):
            return notation.noted("dict", [list(pair) for pair in written.items()])
        return written

    def _dict_of_keys(self, value: Mapping[Any, object], depth: int) -> Any:
        """A mapping with keys that are no exact strings; refused where two keys would be one."""
        written: list[list[Any]] = []
        keys: dict[str, object] = {}
        for key, item in value.items():
            made = self._key(key, depth)
            seen = repr(made)
            if seen in keys:
                raise _Refused(
                    f"the keys {_repr(keys[seen])} and {_repr(key)} are both {_repr(made)} in the record, "
                    "one would be lost. Use keys of one kind."
                )
            keys[seen] = key
            try:
                written.append([made, self._any(item, depth + 1)])
            except _Refused as refused:
                raise refused.within(key) from None
        if all(type(key) is str for key, _ in written):
            found = dict(written)
            return found if self._form is Form.PLAIN or not notation.kind_of(found) else notation.noted("dict", written)
        return notation.noted("dict", written)

    def _key(self, key: object, depth: int) -> Any:
        if isinstance(key, str) and not isinstance(key, Enum):
            return str.__str__(key)
        self.exact = False
        kept = isinstance(key, int | float | bytes | tuple | frozenset | Enum | None) or type(key) in notation.TYPED
        if kept and self._form is not Form.PLAIN:
            return self._any(key, depth + 1)
        try:
            return next(iter(_as_pydantic_has_it({key: None})))
        except (ValueError, TypeError, RecursionError):
            raise _Refused(f"a key of type {_name(type(key))} has no JSON; use strings or numbers as keys") from None

    def _other(self, value: object, depth: int) -> Any:
        """Write what JSON has not, or has by another name."""
        typed = self._form is Form.TYPED
        if isinstance(value, Enum):
            return self._any(value.value, depth)
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, int):
            return self._int(int.__int__(value))
        if isinstance(value, float):
            return self._float(float.__float__(value))
        if isinstance(value, bytes | bytearray | memoryview):
            return self._bytes(value)
        if isinstance(value, Iterator | AsyncIterator | Awaitable | io.IOBase):
            raise _OnceOnly(
                f"{_name(type(value))} gives its items once and cannot be kept; return a list of them"
                if not isinstance(value, Awaitable)
                else f"{_name(type(value))} was not awaited; await it and return what it gives, or return a list"
            )
        if isinstance(value, range | KeysView | ValuesView | ItemsView):
            raise _Refused(f"{_name(type(value))} is no JSON; return a list of it")
        if isinstance(value, set | frozenset):
            items = sorted(value, key=order_of)
            kind = "frozenset" if isinstance(value, frozenset) else "set"
            return notation.noted(kind, self._list(items, depth)) if typed else self._list(items, depth)
        if isinstance(value, list | tuple | deque):
            written = self._list(cast("list[object]", value), depth)
            return notation.noted("tuple", written) if typed and type(value) is tuple else written
        if isinstance(value, Mapping):
            return self._dict(value, depth)
        if hasattr(type(value), "__pydantic_serializer__"):
            return self._model(value, depth)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._dataclass(value, depth)
        if typed and type(value) in notation.TYPED:
            return notation.TYPED[type(value)](value)
        if typed and isinstance(value, PurePath):
            return notation.noted("path", str(value))
        return self._scalar(value)

    def _scalar(self, value: object) -> Any:
        try:
            written = _as_pydantic_has_it(value)
        except (ValueError, TypeError, RecursionError):
            raise _Refused(f"a value of type {_name(type(value))} has no JSON. {REMEDY}") from None
        return written if not isinstance(written, float) else self._float(written)

    def _bytes(self, value: bytes | bytearray | memoryview) -> Any:
        if isinstance(value, memoryview) and (value.format != "B" or value.ndim != 1):
            raise _Refused(f"a memoryview of format {value.format!r}; return its bytes")
        if self._form is not Form.PLAIN:
            kind = next(kind for kind in (bytes, bytearray, memoryview) if isinstance(value, kind))
            return notation.noted(kind.__name__, notation.text_of(bytes(value)))
        if isinstance(value, memoryview):
            raise _Refused("a memoryview has no JSON; give its bytes as base64 text")
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise _Refused("bytes that are no UTF-8 have no JSON; give them as base64 text") from None

    def _dataclass(self, value: object, depth: int) -> dict[str, Any]:
        written: dict[str, Any] = {}
        for field in dataclasses.fields(cast(Any, value)):
            try:
                written[field.name] = self._any(getattr(value, field.name), depth + 1)
            except _Refused as refused:
                raise refused.within(field.name) from None
        return written

    def _model(self, value: Any, depth: int) -> Any:
        """A model as pydantic writes it where that reads back the same, so that its own serializers count."""
        try:
            fields = type(value).__pydantic_serializer__.to_python(value, by_alias=True)
        except (ValueError, TypeError, RecursionError) as error:
            raise _Refused(f"{_name(type(value))} cannot be written: {error}") from None
        try:
            noted = self._any(fields, depth)  # refuses iterators before anything iterates over them
            problem = None
        except _OnceOnly:
            raise
        except _Refused as refused:
            noted, problem = None, refused
        try:
            written = _Writer(self._what, Form.PLAIN)._any(_as_pydantic_has_it(value), depth)
            plain = self._form is Form.PLAIN or (self._form is Form.NOTED and _reads_back(value, written))
            if plain or problem is not None:
                return written
        except (_Refused, ValueError, TypeError, RecursionError):
            if problem is not None:
                raise problem from None
        return noted


def _as_pydantic_has_it(value: object) -> Any:
    """The value as JSON builtins. ValueError (pydantic's own error is one), TypeError, RecursionError."""
    from pydantic_core import to_jsonable_python  # a third of an engine's import, and plain values need none of it

    return to_jsonable_python(value, inf_nan_mode="constants")


def _reads_back(value: Any, written: Any) -> bool:
    try:
        return _same(type(value).__pydantic_validator__.validate_json(msgspec.json.encode(written)), value)
    except Exception:  # validators are the user's
        return False


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _text(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        raise _surrogates(value) from None
    except (ValueError, TypeError, RecursionError, msgspec.MsgspecError) as error:
        raise _Refused(str(error)) from None


def _surrogates(value: Any) -> _Refused:
    """Where text is that is no Unicode."""
    refused = _Refused("its text holds lone surrogates, which are not Unicode")
    items = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    for key, item in items:
        try:
            msgspec.json.encode(item)
        except UnicodeEncodeError:
            return _surrogates(item).within(key)
        except (ValueError, msgspec.MsgspecError):
            continue
    return refused


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of one type, all the way down; NaN is the same as NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return one == other or (one != one and other != other)
    if isinstance(one, list | tuple | deque):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Mapping):
        return len(one) == len(other) and all(
            _same(key, twin) and _same(one[key], other[twin]) for key, twin in zip(one, other, strict=True)
        )
    if isinstance(one, set | frozenset):
        return one == other and sorted(map(order_of, one)) == sorted(map(order_of, other))
    if _is_model(one):
        return _same(one.__dict__, other.__dict__) and _same(one.__pydantic_extra__, other.__pydantic_extra__)
    if dataclasses.is_dataclass(one) and not isinstance(one, type):
        names = [field.name for field in dataclasses.fields(one)]
        return all(_same(getattr(one, name), getattr(other, name)) for name in names)
    try:
        return bool(one == other)
    except Exception:  # comparisons are the user's
        return False


def _is_model(value: object) -> bool:
    if not hasattr(type(value), "__pydantic_serializer__"):
        return False
    from pydantic import BaseModel

    return isinstance(value, BaseModel)


DEFAULTS_MAX = 6
"""Parameters of a call whose defaults are tried written out and not: 64 digests, computed only before a Conflict."""

PLAIN_VALUES_MAX = 100_000
"""Containers that a digest reads where msgspec cannot write them."""

REPR_BITS_MAX = 14_000
"""Python refuses to write larger numbers as decimal text (4,300 digits)."""


@lru_cache(maxsize=1024)
def _adapter(annotation: Any) -> TypeAdapter[Any] | None:
    from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter

    try:
        return TypeAdapter(annotation)
    except (PydanticSchemaGenerationError, PydanticUserError):
        return None


def _checks_nothing(annotation: Any) -> bool:
    return annotation in (inspect.Parameter.empty, Any, object) or isinstance(annotation, str)


def adapter_of(annotation: Any) -> TypeAdapter[Any] | None:
    """The validator of an annotation; None where it says nothing that can be checked."""
    if _checks_nothing(annotation):
        return None
    try:
        return _adapter(annotation)
    except TypeError:  # an unhashable annotation
        return None


_AS_THEY_ARE = (int, bool, float)
"""Types whose values any JSON has as they are."""

_PLAIN = (int, bool, float, str, None, type(None))
"""Types that msgspec reads as pydantic does where it reads them at all."""


@lru_cache(maxsize=1024)
def _plain_decoder_of(annotation: Any) -> msgspec.json.Decoder[Any] | None:
    return msgspec.json.Decoder(annotation) if _is_plain(annotation) else None


def _plain_decoder(annotation: Any) -> msgspec.json.Decoder[Any] | None:
    """The reader of an annotation that is made of plain types alone: it needs no pydantic, whose import takes long."""
    try:
        return _plain_decoder_of(annotation)
    except TypeError:  # an unhashable annotation
        return None


def _is_plain(annotation: Any) -> bool:
    if annotation in _PLAIN:
        return True
    members = get_args(annotation)
    if isinstance(annotation, UnionType) or get_origin(annotation) is Union:
        return len(members) == 2 and type(None) in members and all(map(_is_plain, members))
    if get_origin(annotation) is dict:
        return members[0] is str and _is_plain(members[1])
    return get_origin(annotation) is list and _is_plain(members[0])


def from_json(value: Any, annotation: Any, what: str) -> Any:
    """Recorded JSON builtins shaped to `annotation`; BadArguments names `what` and each field that does not fit."""
    if annotation in _AS_THEY_ARE and type(value) is annotation:
        return value
    if _checks_nothing(annotation) and _is_simple(value):
        return value
    text = msgspec.json.encode(value)
    noted = notation.MARK in text
    decoder = None if noted else _plain_decoder(annotation)
    if decoder is not None:
        with suppress(msgspec.MsgspecError):  # it does not fit: pydantic says why, or is less strict
            return decoder.decode(text)
    adapter = adapter_of(annotation)
    if adapter is None and _is_simple(value):
        return value
    if noted:
        value = notation.read(value)
    if adapter is None:
        return value
    if isinstance(value, str) and _names_bytes(annotation):
        data = _bytes_of(value)
        if data is None and annotation is bytes:
            raise BadArguments(f"{what} does not fit bytes: in JSON bytes are base64 text, this is not")
        noted, value = (noted, value) if data is None else (True, data)
    from pydantic import ValidationError

    try:
        # JSON mode: lists fit tuples and sets, strings fit dates and bytes, as in any JSON document.
        return adapter.validate_python(value) if noted else adapter.validate_json(text)
    except ValidationError as error:
        if not noted and error.errors()[0]["type"] == "json_invalid":  # too deep for that parser
            return _shaped(value, adapter, annotation, what)
        raise _not_fitting(error, annotation, what) from None


def _shaped(value: Any, adapter: TypeAdapter[Any], annotation: Any, what: str) -> Any:
    from pydantic import ValidationError

    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise _not_fitting(error, annotation, what) from None


def _not_fitting(error: ValidationError, annotation: Any, what: str) -> BadArguments:
    lines = "; ".join(
        f"{_place('', list(e['loc'])).removeprefix('.') or 'value'}: {e['msg'].removeprefix('Value error, ')}"
        for e in error.errors()
    )
    return BadArguments(f"{what} does not fit {inspect.formatannotation(annotation)}: {lines}")


def _names_bytes(annotation: Any) -> bool:
    """Whether text can only mean bytes here: `bytes`, an alias, NewType or Annotated of it, or one of these or None.

    At the top of a value such bytes are base64 text, which is how they were always recorded.
    """
    while annotation is not bytes:
        if isinstance(annotation, TypeAliasType):
            annotation = annotation.__value__
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, UnionType) or get_origin(annotation) is Union:
            members = [member for member in get_args(annotation) if member is not type(None)]
            return bool(members) and all(_names_bytes(member) for member in members)
        else:
            return False
    return True


def _bytes_of(text: str) -> bytes | None:
    try:
        return notation.bytes_of(text)
    except ValueError:
        return None


def hints_of(fn: Callable[..., object]) -> dict[str, Any]:
    """Resolved annotations; those that cannot be resolved are left out, so they check nothing."""
    try:
        return get_type_hints(fn, include_extras=True)
    except Exception:
        # One unresolvable name hides all; take those that stand alone.
        raw = getattr(fn, "__annotations__", {})
        return {name: hint for name, hint in raw.items() if not isinstance(hint, str)}


@lru_cache(maxsize=1024)
def _shape(fn: Callable[..., object], skip_first: bool) -> tuple[inspect.Signature, dict[str, Any]]:
    """A function's signature, without the context where it has one, and its annotations."""
    signature = inspect.signature(fn)
    parameters = list(signature.parameters.values())
    return signature.replace(parameters=parameters[1:] if skip_first else parameters), hints_of(fn)


@lru_cache(maxsize=1024)
def _places(fn: Callable[..., object], skip_first: bool) -> tuple[list[str], str]:
    """The parameters that positional arguments go to, and the one that takes any other keyword, or ""."""
    found = _shape(fn, skip_first)[0].parameters.values()
    positional = [each.name for each in found if each.kind not in (each.KEYWORD_ONLY, each.VAR_KEYWORD)]
    return positional, next((each.name for each in found if each.kind is each.VAR_KEYWORD), "")


def encode_arguments(
    fn: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object], name: str, *, skip_first: bool
) -> tuple[list[Any], dict[str, Any]]:
    """Arguments for `fn` as `encode` writes them, each by its parameter's annotation; NotEncodable names it."""
    signature, hints = _shape(fn, skip_first)
    places, rest = _places(fn, skip_first)
    packed = []
    for n, value in enumerate(args):
        place = places[min(n, len(places) - 1)] if places else ""
        packed.append(encode(value, f"{name}: argument {n + 1}", hints.get(place, inspect.Parameter.empty)))
    named = {}
    for key, value in kwargs.items():
        hint = hints.get(key if key in signature.parameters else rest, inspect.Parameter.empty)
        named[key] = encode(value, f"{name}: argument {key!r}", hint)
    return packed, named


@lru_cache(maxsize=1024)
def _plain_names(fn: Callable[..., object], skip_first: bool) -> tuple[str, ...] | None:
    """The parameters where each can be given by its place; None where one cannot."""
    found = _shape(fn, skip_first)[0].parameters.values()
    plain = all(each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) for each in found)
    return tuple(each.name for each in found) if plain else None


def _bind(
    fn: Callable[..., object], skip_first: bool, args: list[Any], kwargs: dict[str, Any]
) -> inspect.BoundArguments:
    """`Signature.bind`, which is slow, where something is left to be found out."""
    signature, names = _shape(fn, skip_first)[0], _plain_names(fn, skip_first)
    if names is not None and not kwargs and len(args) == len(names):
        return inspect.BoundArguments(signature, dict(zip(names, args, strict=True)))
    return signature.bind(*args, **kwargs)


@lru_cache(maxsize=1024)
def _plain_parameters(fn: Callable[..., object], skip_first: bool) -> tuple[tuple[tuple[str, Any], ...], bool] | None:
    """Each parameter as messages call it, with its annotation; whether one has a default. None as `_plain_names`."""
    names = _plain_names(fn, skip_first)
    if names is None:
        return None
    signature, hints = _shape(fn, skip_first)
    name = getattr(fn, "__name__", "function")
    found = tuple((f"{name}: argument {each!r}", hints.get(each, inspect.Parameter.empty)) for each in names)
    return found, any(each.default is not each.empty for each in signature.parameters.values())


def shaped_call(
    fn: Callable[..., object], args: list[Any], kwargs: dict[str, Any], *, skip_first: bool
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Recorded JSON arguments as `fn` takes them, shaped to its annotations; BadArguments when they do not fit."""
    plain = None if kwargs else _plain_parameters(fn, skip_first)
    if plain is not None and len(args) == len(plain[0]):
        return tuple([from_json(value, hint, what) for value, (what, hint) in zip(args, plain[0], strict=True)]), {}
    bound = bind_json(fn, args, kwargs, skip_first=skip_first)
    return bound.args, bound.kwargs


def call_digest(fn: Callable[..., object], args: list[Any], kwargs: dict[str, Any], *, skip_first: bool) -> str:
    """The first of `argument_digests` for recorded JSON arguments; BadArguments when they do not fit."""
    plain = None if kwargs else _plain_parameters(fn, skip_first)
    if plain is not None and not plain[1] and len(args) == len(plain[0]):
        return digest(*shaped_call(fn, args, kwargs, skip_first=skip_first))  # without inspect's objects, which cost
    return next(argument_digests(bind_json(fn, args, kwargs, skip_first=skip_first)))


def bind_json(
    fn: Callable[..., object], args: list[Any], kwargs: dict[str, Any], *, skip_first: bool
) -> inspect.BoundArguments:
    """Recorded JSON arguments bound to `fn` and shaped to its annotations; BadArguments when they do not fit."""
    signature, hints = _shape(fn, skip_first)
    name = getattr(fn, "__name__", "function")
    try:
        bound = _bind(fn, skip_first, args, kwargs)
    except TypeError as error:
        raise BadArguments(f"{name}{signature}: {error}") from None
    for parameter, value in list(bound.arguments.items()):
        hint = hints.get(parameter, inspect.Parameter.empty)
        kind = signature.parameters[parameter].kind
        what = f"{name}: argument {parameter!r}"
        if kind is inspect.Parameter.VAR_POSITIONAL:
            bound.arguments[parameter] = tuple(from_json(item, hint, what) for item in value)
        elif kind is inspect.Parameter.VAR_KEYWORD:
            bound.arguments[parameter] = {key: from_json(item, hint, what) for key, item in value.items()}
        else:
            bound.arguments[parameter] = from_json(value, hint, what)
    return bound


def digest(*parts: object) -> str:
    """A short digest of arguments, the same in every process: 32 hex digits.

    What has no JSON counts by its type only: such an argument cannot be compared across processes.
    """
    try:
        unsorted = may_hold_sets(parts) and is_left_unsorted(parts)
        text = _sorted_json(with_sorted_sets(parts, _sorted_json) if unsorted else parts)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        # Keys that JSON has not, lone surrogates, cycles: slower, and what cannot be told apart counts as its type.
        text = repr(_plain(parts, 0, iter(range(PLAIN_VALUES_MAX)))).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def _sorted_json(value: object) -> bytes:
    return msgspec.json.encode(value, enc_hook=_digestible, order="sorted")


def argument_digests(bound: inspect.BoundArguments) -> Iterator[str]:
    """Digests that records may hold for a call; the first is the one to record now.

    That is the digest without the arguments that equal their defaults, so `f(1)` and `f(1, b=<default>)` are one call,
    and a default that is changed later changes nothing of it. Before, a digest was of what was written in the call: the
    others are those of every way to write it, with at most DEFAULTS_MAX defaults written out or not.
    """
    defaults = [
        name for name in bound.arguments if _is_default(bound.signature.parameters[name], bound.arguments[name])
    ]
    yield _digest_of(bound, defaults)
    every = inspect.BoundArguments(bound.signature, bound.arguments.copy())
    every.apply_defaults()
    written = [name for name in every.arguments if name in defaults or name not in bound.arguments]
    for count in range(len(written[:DEFAULTS_MAX]) + 1):
        for omitted in itertools.combinations(written[:DEFAULTS_MAX], count):
            yield _digest_of(every, omitted)


def _is_default(parameter: inspect.Parameter, value: object) -> bool:
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return not value
    return parameter.default is not parameter.empty and digest(parameter.default) == digest(value)


def _digest_of(bound: inspect.BoundArguments, omitted: Sequence[str]) -> str:
    if omitted:
        left = {name: value for name, value in bound.arguments.items() if name not in omitted}
        bound = inspect.BoundArguments(bound.signature, left)
    return digest(bound.args, bound.kwargs)


def _plain(value: object, depth: int, budget: Iterator[int]) -> object:
    if isinstance(value, int) and value.bit_length() > REPR_BITS_MAX:
        return hex(value)
    if isinstance(value, str | int | float | bool | None):
        return value
    if depth > 100 or next(budget, None) is None:  # a list that holds itself twice would be 2**100 lists
        return "<deep>"
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1, budget) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(_plain(item, depth + 1, budget)) for item in value)
    if isinstance(value, Mapping):
        return sorted(repr((_plain(k, depth + 1, budget), _plain(v, depth + 1, budget))) for k, v in value.items())
    return _digestible(value)


def _digestible(value: object) -> object:
    if _is_model(value):
        found: Any = value
        return dict(found.__dict__)  # its sets are then sorted as any other
    from pydantic_core import to_jsonable_python

    try:
        encoded = to_jsonable_python(value, bytes_mode="base64", inf_nan_mode="constants")
    except (ValueError, TypeError, RecursionError):
        return f"<{type(value).__module__}.{type(value).__qualname__}>"
    if isinstance(encoded, float) and not math.isfinite(encoded):
        return repr(encoded)
    return encoded


def pack(value: Any) -> str | None:
    """JSON builtins as the record keeps them: base64 of JSON, None for None (the SDK's codec)."""
    return None if value is None else notation.text_of(msgspec.json.encode(value))


def unpack(data: str | None) -> Any:
    """The JSON builtins inside a record's `data`; None where there are none or they are not ours."""
    if not data:
        return None
    try:
        return msgspec.json.decode(unseal(notation.bytes_of(data)))
    except (ValueError, msgspec.MsgspecError):
        return None
