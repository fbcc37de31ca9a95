"""Tests of agent frameworks, which `uv run pytest` does not install: `.ci/run` brings the group `integrations`."""

from __future__ import annotations

from importlib.util import find_spec

FRAMEWORKS = {
    "test_pydantic_ai.py": "pydantic_ai",
    "test_langgraph.py": "langgraph",
    "test_openai_agents.py": "agents",
    "test_smolagents.py": "smolagents",
    "test_google_adk.py": "google.adk",
}


def _is_there(package: str) -> bool:
    return find_spec(package.partition(".")[0]) is not None and find_spec(package) is not None


collect_ignore = [file for file, package in FRAMEWORKS.items() if not _is_there(package)]
if collect_ignore:
    collect_ignore.append("test_programs.py")
