"""The OpenAPI document is valid, and a server does what it says: a few of the requests that schemathesis makes."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

from openapi_spec_validator import OpenAPIV31SpecValidator

from durable.client.api_models import ExecutionDetail, PromptDetail, SessionDetail
from durable.records.view_models import ExecutionView, PromptView, SessionView
from tests.warm_python import PYTHON

from .api_server import document

ROOT = Path(__file__).resolve().parents[2]


def test_the_document_is_valid() -> None:
    assert list(OpenAPIV31SpecValidator(document()).iter_errors()) == []


def test_every_type_and_field_of_the_document_has_a_name_and_a_schema() -> None:
    schemas = document()["components"]["schemas"]
    used = str(document()["paths"])
    for name in schemas:
        assert f"/{name}'" in used + str(schemas), f"{name} is used"
    for detail, view in ((ExecutionDetail, ExecutionView), (PromptDetail, PromptView), (SessionDetail, SessionView)):
        assert set(view.__dataclass_fields__) < set(schemas[detail.__name__]["properties"])


async def test_no_answer_is_one_that_the_document_does_not_say(tmp_path: Path) -> None:
    command = [PYTHON, "-m", "tests.contract.api_cases", "--cases", "40"]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=os.environ.copy(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said, _ = await asyncio.wait_for(process.communicate(), 110)
    assert process.returncode == 0, said.decode()[-4_000:]
    assert b"requests in" in said
