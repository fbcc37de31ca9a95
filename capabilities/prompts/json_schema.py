"""JSON Schemas of questions. Code in a session writes them, engines and servers check answers against them: nothing in
one may reach out of itself, and checking ends soon.

S1. References lead to the schema itself. There is no retrieval: jsonschema's own would open any URL, files too.
S2. Patterns are matched in linear time, by the engine that pydantic has; there is no look-around in it.
S3. A check resolves at most REFERENCES_MAX references: each could lead to two, those to four.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from pydantic_core import SchemaError, SchemaValidator, ValidationError

from durable.core.errors import BadArguments

NODES_MAX = 10_000
DEPTH_MAX = 50
REFERENCES_MAX = 10_000

CHECKED_MAX = 1_000
"""Digests of schemas that are remembered as checked."""

_NAMED = frozenset({"properties", "$defs", "definitions", "dependentSchemas"})
"""Keywords whose keys are names, not keywords."""
_DATA = frozenset({"enum", "const", "default", "examples"})
_REFERENCES = ("$ref", "$dynamicRef")

_checked: set[bytes] = set()

_left: ContextVar[list[int]] = ContextVar("references_left")
"""How many references the check under way may still resolve."""


class _TooMuch(Exception):
    """More references than are resolved."""


def check_schema(schema: dict[str, Any]) -> None:
    """BadArguments for what is no JSON Schema, or one that questions cannot have."""
    import jsonschema

    check_parts(schema)
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise BadArguments(f"schema= is no JSON Schema: {error.message[:300]}") from None
    except RecursionError:
        raise BadArguments("schema= is nested too deeply") from None


def check_parts(schema: dict[str, Any]) -> None:
    """Check the parts of a schema that pydantic made, which is a JSON Schema."""
    for depth, node in _nodes(schema):
        _check_node(node, is_root=not depth)


def _nodes(schema: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every object that may be a schema, with its depth."""
    left: list[tuple[int, Any]] = [(0, schema)]
    seen = 0
    while left:
        depth, node = left.pop()
        seen += 1
        if seen > NODES_MAX or depth > DEPTH_MAX:
            raise BadArguments(f"schema= has at most {NODES_MAX} parts, nested at most {DEPTH_MAX} deep")
        if isinstance(node, list):
            left.extend((depth + 1, each) for each in node)
        elif isinstance(node, dict):
            yield depth, node
            for key, value in node.items():
                if key in _NAMED and isinstance(value, dict):
                    left.extend((depth + 1, each) for each in value.values())
                elif key not in _DATA:
                    left.append((depth + 1, value))


def _check_node(node: dict[str, Any], *, is_root: bool) -> None:
    for key in _REFERENCES:
        reference = node.get(key)
        if isinstance(reference, str) and not reference.startswith("#"):
            raise BadArguments(f"schema=: {key} leads within the schema, to '#/…', not to {reference[:100]!r}")
    if isinstance(node.get("$schema"), str) and not is_root:
        raise BadArguments("schema=: $schema is said once, at the root")
    if isinstance(node.get("patternProperties"), dict):
        raise BadArguments("schema=: patternProperties is not supported; propertyNames is")
    if isinstance(node.get("pattern"), str):
        try:
            _pattern(node["pattern"])
        except SchemaError:
            raise BadArguments(
                f"schema=: the pattern {node['pattern'][:100]!r} cannot be used: no regular expression, or one with "
                "look-around or back-references"
            ) from None


@lru_cache(maxsize=256)
def _pattern(pattern: str) -> SchemaValidator:
    return SchemaValidator({"type": "str", "pattern": pattern, "regex_engine": "rust-regex"})


def faults(schema: dict[str, Any], value: Any) -> list[dict[str, Any]]:
    """The faults of a value, as `{loc, msg}`, at most ten; nothing when it fits."""
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        _check_once(schema)
        _left.set([REFERENCES_MAX])
        # Without $schema: where a reference leads to the root, jsonschema would go on with that dialect's keywords.
        checking = _validator()({key: schema[key] for key in schema if key != "$schema"}, registry=Registry())
        found = sorted(checking.iter_errors(value), key=lambda error: list(map(str, error.path)))
    except BadArguments as error:  # asked past us
        return [{"loc": [], "msg": f"nothing fits: {error}"}]
    except Unresolvable as error:
        return [{"loc": [], "msg": f"nothing fits: the schema has nothing at {error.ref[:200]!r}"}]
    except (_TooMuch, RecursionError):
        return [{"loc": [], "msg": "nothing fits: the schema leads to itself, or to too much"}]
    return [{"loc": list(error.absolute_path), "msg": _short(error.message)} for error in found[:10]]


def _check_once(schema: dict[str, Any]) -> None:
    """`check_schema`, which takes longer than all the rest of an answer, not again for what was checked before."""
    digest = hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).digest()
    if digest not in _checked:
        check_schema(schema)
        if len(_checked) >= CHECKED_MAX:
            _checked.clear()
        _checked.add(digest)


@lru_cache(maxsize=1)
def _validator() -> Any:
    """The validator class; each check counts down its own `_left`."""
    from jsonschema import Draft202012Validator
    from jsonschema import ValidationError as Fault
    from jsonschema.validators import extend

    def counted(keyword: str) -> Any:
        resolve = Draft202012Validator.VALIDATORS[keyword]

        def references(*given: Any) -> Any:
            left = _left.get()
            left[0] -= 1
            if left[0] < 0:
                raise _TooMuch
            return resolve(*given)

        return references

    def pattern(_validator: Any, pattern: Any, value: Any, _schema: Any) -> Iterator[Fault]:
        if isinstance(value, str):
            try:
                _pattern(pattern).validate_python(value)
            except ValidationError:
                yield Fault(f"{value!r} does not match {pattern!r}")

    return extend(  # type: ignore[no-untyped-call]
        Draft202012Validator, {"pattern": pattern} | {each: counted(each) for each in _REFERENCES}
    )


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:200]} … {text[-80:]}"
