"""Values at the durability boundary: Python to JSON and back, by annotation, and digests of arguments.

JSON is what the record holds, so a value read back is the same whether it was just made or replayed. Models are
pydantic's, so models, dataclasses, datetimes, enums, sets and tuples come back as their annotation says.
"""

from __future__ import annotations

import base64
import hashlib
import inspect
import json
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, cast, get_type_hints

import msgspec
from pydantic import BaseModel, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from durable.core.errors import BadArguments, NotEncodable
from durable.core.limits import VALUE_BYTES_MAX

JSON_BYTES_MAX = VALUE_BYTES_MAX * 3 // 4 - 2**10
"""What fits into a promise once it is base64, with room for what the record adds."""

type Json = bool | int | float | str | list[Json] | dict[str, Json] | None


def to_json(value: object, what: str) -> Any:
    """`value` as JSON builtins; raises NotEncodable naming `what` and the type that does not fit."""
    if value is None or type(value) in (bool, int) or (type(value) is str and value.isascii() and len(value) < 1000):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")  # inside models and containers bytes are as pydantic has them
    try:
        encoded = to_jsonable_python(_ordered(value), inf_nan_mode="constants")
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        raise NotEncodable(
            f"{what} cannot be recorded: {error}. Return JSON values, dataclasses or pydantic models, "
            "or write the data to a file and return its path."
        ) from None
    return _checked(encoded, what)


def _ordered(value: object) -> object:
    """The value with its sets as sorted lists, so that what is recorded does not depend on the process."""
    if isinstance(value, set | frozenset):
        return sorted((_ordered(item) for item in value), key=lambda item: (type(item).__name__, repr(item)))
    if type(value) in (list, tuple):
        return [_ordered(item) for item in cast("list[object]", value)]
    if type(value) is dict:
        return {key: _ordered(item) for key, item in cast("dict[object, object]", value).items()}
    return value


def _checked(value: Any, what: str) -> Any:
    """NaN and infinity have no JSON; pydantic lets them through as floats."""
    try:
        size = len(json.dumps(value, allow_nan=False, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        raise NotEncodable(
            f"{what} cannot be recorded: its text holds lone surrogates, which are not Unicode"
        ) from None
    except ValueError:
        raise NotEncodable(f"{what} cannot be recorded: NaN and infinity are not JSON; use None or a string") from None
    except TypeError as error:
        raise NotEncodable(f"{what} cannot be recorded: {error}") from None
    if size > JSON_BYTES_MAX:
        raise NotEncodable(
            f"{what} is too large to be recorded: {size} bytes of JSON, at most {JSON_BYTES_MAX} fit into a promise. "
            "Write the data to a file and return its path."
        )
    return value


@lru_cache(maxsize=1024)
def _adapter(annotation: Any) -> TypeAdapter[Any] | None:
    try:
        return TypeAdapter(annotation)
    except (PydanticSchemaGenerationError, PydanticUserError):
        return None


def adapter_of(annotation: Any) -> TypeAdapter[Any] | None:
    """The validator of an annotation; None where it says nothing that can be checked."""
    if annotation in (inspect.Parameter.empty, Any, object) or isinstance(annotation, str):
        return None
    try:
        return _adapter(annotation)
    except TypeError:  # an unhashable annotation
        return None


def from_json(value: Any, annotation: Any, what: str) -> Any:
    """JSON builtins shaped to `annotation`; raises BadArguments naming `what` and each field that does not fit."""
    adapter = adapter_of(annotation)
    if adapter is None:
        return value
    if annotation is bytes and isinstance(value, str):
        return base64.b64decode(value)
    try:
        # JSON mode: lists fit tuples and sets, strings fit dates and bytes, as in any JSON document.
        return adapter.validate_json(msgspec.json.encode(value))
    except ValidationError as error:
        lines = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise BadArguments(f"{what} does not fit {inspect.formatannotation(annotation)}: {lines}") from None


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


def bind_json(
    fn: Callable[..., object], args: list[Any], kwargs: dict[str, Any], *, skip_first: bool
) -> inspect.BoundArguments:
    """Recorded JSON arguments bound to `fn` and shaped to its annotations; BadArguments when they do not fit."""
    signature, hints = _shape(fn, skip_first)
    name = getattr(fn, "__name__", "function")
    try:
        bound = signature.bind(*args, **kwargs)
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
        text = msgspec.json.encode(parts, enc_hook=_digestible, order="sorted")
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        # Keys that JSON has not, lone surrogates, cycles: slower, and what cannot be told apart counts as its type.
        text = repr(_plain(parts)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def _plain(value: object, depth: int = 0) -> object:
    if isinstance(value, str | int | float | bool | None):
        return value
    if depth > 100:
        return "<deep>"
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(repr(_plain(item, depth + 1)) for item in value)
    if isinstance(value, Mapping):
        return sorted(repr((_plain(k, depth + 1), _plain(v, depth + 1))) for k, v in value.items())
    return _digestible(value)


def _digestible(value: object) -> object:
    if isinstance(value, BaseModel):
        return dict(value.__dict__)  # its sets are then sorted as any other
    try:
        encoded = to_jsonable_python(value, bytes_mode="base64", inf_nan_mode="constants")
    except (PydanticSerializationError, ValueError, TypeError, RecursionError):
        return f"<{type(value).__module__}.{type(value).__qualname__}>"
    if isinstance(encoded, float) and not math.isfinite(encoded):
        return repr(encoded)
    return encoded


def pack(value: Any) -> str | None:
    """JSON builtins as the record keeps them: base64 of JSON, None for None (the SDK's codec)."""
    return None if value is None else base64.b64encode(msgspec.json.encode(value)).decode("ascii")


def unpack(data: str | None) -> Any:
    """The JSON builtins inside a record's `data`; None where there are none or they are not ours."""
    if not data:
        return None
    try:
        return msgspec.json.decode(base64.b64decode(data, validate=True))
    except (ValueError, msgspec.MsgspecError):
        return None
