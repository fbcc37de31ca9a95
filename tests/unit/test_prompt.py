"""Prompts as records, and capabilities (specs/prompt.md)."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

from capabilities.capability import Capabilities, Capability, call_id, capability
from capabilities.prompts.answer_validation import read_typed, validated
from capabilities.prompts.prompt import Prompt, Settlement, prompt_for
from capabilities.standard.prompts import question as question_of
from durable.core.errors import BadArguments, InvalidAnswer, InvalidId
from durable.functions.prompt_records import asked


class Decision(BaseModel):
    publish: bool
    why: str = ""


def test_an_answer_is_checked_against_the_record_alone() -> None:
    made = prompt_for("Publish?", schema=Decision, adapter=TypeAdapter(Decision))
    read = Prompt.model_validate(made.record())
    assert validated(read, "p", {"publish": True}) == {"publish": True}
    with pytest.raises(InvalidAnswer) as caught:
        validated(read, "p", {"publish": "maybe", "why": 3})
    assert {tuple(error["loc"]) for error in caught.value.errors} == {("publish",), ("why",)}
    with pytest.raises(InvalidAnswer, match="'publish' is a required property"):
        validated(read, "p", {})


def test_an_option_that_no_question_has_is_refused_as_python_does() -> None:
    misspelt: Any = {"timeot": 3}
    with pytest.raises(TypeError, match=r"ask\(\) got an unexpected keyword argument 'timeot'"):
        asked("ask", {"question": "?"}, misspelt)


def test_a_default_of_none_is_a_default() -> None:
    """Unlike none at all."""
    assert asked("ask", {"question": "?"}, {"default": None}).prompt.has_default
    assert not asked("ask", {"question": "?"}, {}).prompt.has_default


def test_choices_and_words() -> None:
    choice = prompt_for("Which?", choices=["a", 2])
    assert validated(choice, "p", 2) == 2
    assert read_typed(choice, "2") == 2
    with pytest.raises(InvalidAnswer, match="choose one of: a, 2"):
        validated(choice, "p", "b")
    words = prompt_for("Name?")
    assert read_typed(words, "5") == "5"
    with pytest.raises(InvalidAnswer, match="in words"):
        validated(words, "p", 5)
    number = prompt_for("How many?", schema=int, adapter=TypeAdapter(int))
    assert read_typed(number, "5") == 5
    assert read_typed(number, "five") == "five"


def test_an_answer_that_is_no_form_is_told_the_forms() -> None:
    approve, _ = question_of("approve", {"action": "Ship?"})
    review, _ = question_of("review", {"document": "text"})
    for prompt, answer, way in (
        (approve, "maybe", "yes, no"),
        (approve, 1, "yes, no"),
        (review, "edit", "accept, dec"),
    ):
        with pytest.raises(InvalidAnswer, match=f"answer with {way}"):
            validated(prompt, "p", answer)
    assert validated(approve, "p", "no") == {"approve": False}


@pytest.mark.parametrize("question", ["", "  ", "x" * 1001])
def test_a_question_has_a_length(question: str) -> None:
    with pytest.raises(BadArguments):
        prompt_for(question)
    with pytest.raises(BadArguments, match="neither a JSON Schema nor a type"):
        prompt_for("q", schema=object())


def test_a_settlement_is_read_whoever_wrote_it() -> None:
    assert Settlement.from_record({"value": 5, "by": "ana", "nonce": "n"}).by == "ana"
    assert Settlement.from_record({"data": "legacy"}).value == "legacy"
    assert Settlement.from_record("bare").value == "bare"
    assert Settlement.from_record({"value": 5}).value == {"value": 5}
    past_us = {"nonce": ["no", "nonce"], "declined": "perhaps"}
    assert Settlement.from_record(past_us).value == past_us


async def test_capabilities_are_named_bound_and_told_their_call() -> None:
    @capability
    def lookup(sku: str, *, deep: bool = False) -> str:
        """Find an item."""
        return f"{sku} {deep} {call_id()}"

    known = Capabilities([lookup])
    assert known.check(["lookup", "lookup"]) == ("input", "lookup")
    with pytest.raises(BadArguments, match="no capability nothing; this engine knows"):
        known.check(["nothing"])
    found = known.get("lookup")
    assert isinstance(found, Capability)
    assert found.doc == "Find an item."
    with pytest.raises(BadArguments, match=r"lookup\(\): missing a required argument"):
        found.bind("", [], {})
    with pytest.raises(BadArguments, match=r"lookup\(\): deep: Input should be a valid boolean"):
        found.bind("", ["a"], {"deep": []})
    assert found.bind("", ["a"], {"deep": True}) == {"sku": "a", "deep": True}
    with pytest.raises(LookupError):
        call_id()
    with pytest.raises(BadArguments):
        Capabilities([len])  # type: ignore[list-item]
    with pytest.raises(InvalidId):
        capability(lambda: None, name="Not a name")
