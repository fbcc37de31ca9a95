"""Tests of agent frameworks, which `uv run pytest` does not install: `.ci/run` brings the group `integrations`."""

from __future__ import annotations

from importlib.util import find_spec

FRAMEWORKS = {"test_pydantic_ai.py": "pydantic_ai", "test_langgraph.py": "langgraph"}

collect_ignore = [file for file, package in FRAMEWORKS.items() if find_spec(package) is None]
