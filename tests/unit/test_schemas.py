"""Schemas that code wrote, checked by whoever answers: nothing reaches out, nothing takes long (S1-S3)."""

from __future__ import annotations

import urllib.request
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, TypeAdapter

from capabilities.prompts.answer_validation import validated
from capabilities.prompts.json_schema import DEPTH_MAX, check_schema, faults
from capabilities.prompts.prompt import prompt_for
from durable.core.errors import BadArguments, InvalidAnswer


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(depth):
        found = {"not": found}
    return found


DOUBLING = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(40)}

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"$ref": "http://127.0.0.1/secret"}, "leads within the schema"),
    ({"$ref": "file:///etc/hostname"}, "leads within the schema"),
    ({"properties": {"a": {"items": {"$dynamicRef": "other.json"}}}}, "leads within the schema"),
    ({"allOf": [{"$schema": "http://json-schema.org/draft-07/schema#"}]}, "at the root"),
    ({"patternProperties": {"^(a+)+$": {}}}, "not supported"),
    ({"pattern": "(?=a)b"}, "look-around"),
    ({"items": {"pattern": "("}}, "regular expression"),
    ({"type": 5}, "no JSON Schema"),
    (nested(DEPTH_MAX + 1), "nested at most"),
    ({"anyOf": [{}] * 10_001}, "at most 10000 parts"),
]


@pytest.mark.parametrize(("schema", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_schema_for_a_question(
    schema: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_: pytest.fail("it reached out"))
    with pytest.raises(BadArguments, match=message):
        check_schema(schema)
    assert "nothing fits" in faults(schema, "a")[0]["msg"]  # one that was asked past us


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        ({"pattern": "^(a+)+$"}, "a" * 10**5 + "!", "does not match"),
        ({"pattern": "^(.*)*$X"}, "a" * 10**5, "does not match"),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "not": {"$ref": "#"}}, "a", "leads to itself"),
        ({"$ref": "#/$defs/nothing"}, "a", "has nothing at"),
        ({"$ref": "#/$defs/a0", "$defs": {**DOUBLING, "a40": {}}}, "a", "too much"),
        (
            {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "if": {"type": "array"},
                "then": {"items": {"$ref": "#"}},
                "else": {"pattern": "^(a+)+$"},
            },
            ["a" * 10**5 + "!"],
            "does not match",
        ),
    ],
)
def test_checks_end(schema: dict[str, Any], value: Any, message: str) -> None:
    check_schema(schema)
    (fault,) = faults(schema, value)
    assert message in fault["msg"]


class Node(BaseModel):
    name: Annotated[str, Field(pattern=r"^[a-z]+$")]
    pattern: str = ""
    below: list[Node] = []


def test_schemas_of_types_are_checked_as_before() -> None:
    schema = TypeAdapter(Node).json_schema()
    check_schema(schema)
    assert faults(schema, {"name": "a", "below": [{"name": "b", "pattern": "("}]}) == []
    (fault,) = faults(schema, {"name": "a", "below": [{"name": "B"}]})
    assert fault == {"loc": ["below", 0, "name"], "msg": "'B' does not match '^[a-z]+$'"}
    prompt = prompt_for("?", schema=Node, adapter=TypeAdapter(Node))
    with pytest.raises(InvalidAnswer, match="name"):
        validated(prompt, "p", {"name": ""})
    kind = dict[Annotated[str, Field(pattern="^a")], int]
    with pytest.raises(BadArguments, match="patternProperties"):
        prompt_for("?", schema=kind, adapter=TypeAdapter(kind))
