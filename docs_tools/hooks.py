"""Hooks of mkdocs: the pages that are made from the code are made while the site is built, so none goes stale."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # mkdocs loads this file by its path


def on_files(files: Any, config: Any) -> Any:
    """Add the reference."""
    from mkdocs.structure.files import File

    from docs_tools import api_reference, cli_reference

    for name, made in (("api", api_reference), ("cli", cli_reference)):
        files.append(File.generated(config, f"reference/{name}.md", content=made.page()))
    return files
