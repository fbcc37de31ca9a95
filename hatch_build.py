"""Brings JavaScript's engine into the package while it is built. Without npm the package is built without it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class EngineHook(BuildHookInterface[Any]):
    """`quickjs.wasm` beside `engine_file.py`: in the tree for an editable install, in the wheel else."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - the name is hatchling's
        """Called by hatchling before it collects files."""
        source = Path(self.root) / "capabilities" / "sandbox" / "javascript" / "engine_file.py"
        spec = importlib.util.spec_from_file_location("durable_build_engine_file", source)
        assert spec is not None
        assert spec.loader is not None
        engine_file = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(engine_file)
        try:
            if not engine_file.present():
                engine_file.install()
        except engine_file.EngineMissing as error:
            print(f"built without JavaScript: {error}", file=sys.stderr)
            return
        build_data["artifacts"].append("capabilities/sandbox/javascript/engine/quickjs.wasm")
