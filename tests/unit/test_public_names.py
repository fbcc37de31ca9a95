"""The list of public names is a contract: a change here is a change of the API."""

import ast
import subprocess
import sys
from inspect import signature
from pathlib import Path

import pytest

import durable
from durable.engine.engine import Engine, EngineOptions


def test_every_public_name_can_be_used_and_none_is_forgotten() -> None:
    for name in durable.__all__:
        assert getattr(durable, name) is not None
    assert sorted(durable.__all__) == durable.__all__


def test_checkers_see_the_names_that_programs_get() -> None:
    """What is imported for annotations is the table that names are looked up in."""
    tree = ast.parse(Path(durable.__file__).read_text(encoding="utf-8"))
    seen = {
        alias.asname: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname is not None
    }
    assert seen == durable._WHERE


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        durable.nothing_of_that_name


def test_import_durable_loads_nothing_heavy() -> None:
    code = "import durable, sys; print([m for m in ('resonate', 'pydantic', 'asyncio', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_error_of_a_sandbox_can_be_caught_by_its_name() -> None:
    """They are raised out of `engine.sandbox` and `ctx.sandbox`: SerializationError, Cancelled, StateLost were not."""
    code = (
        "import durable, capabilities.sandbox.javascript.errors, capabilities.sandbox.errors as errors\n"
        "def below(kind):\n"
        "    for each in kind.__subclasses__():\n"
        "        yield each\n"
        "        yield from below(each)\n"
        "print([each.__name__ for each in below(errors.SandboxError) if each.__name__ not in durable.__all__])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_options_of_open_are_those_of_the_engine() -> None:
    takes = signature(Engine.__init__).parameters
    assert list(EngineOptions.__annotations__) == [name for name in takes if name not in ("self", "target")]
