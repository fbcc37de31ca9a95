"""The mode of a cell in its namespace, remembered with its text (specs/namespace.md, M1-M4)."""

from __future__ import annotations

import ast
import types
from typing import NamedTuple

from bridge.code.cell_mode import SIMPLE, Classification, Detection, classify_tree
from bridge.worker.namespace.main_module import Namespace
from bridge.worker.run.code_cache import CodeCache
from bridge.worker.run.compiler import CompiledCell

_FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST
_AWAITS = Classification("top_level_await")


class _Known(NamedTuple):
    """A classification, and what the names meant that it depended on."""

    found: Classification
    names: dict[str, str | None]


class Classifier:
    """Classifies the cells of one namespace."""

    def __init__(self, namespace: Namespace, detection: Detection, cache_size: int) -> None:
        self.detection = detection
        self._namespace = namespace
        self._known: CodeCache[_Known] = CodeCache(cache_size)

    def classify(self, code: str, cell: CompiledCell) -> Classification:
        """Of a text and what it is compiled to. A text that mentions nothing of the table is not looked at."""
        key, awaits = cell.key, cell.awaits
        if "async" not in code and ("(" not in code or not self._mentions(cell)):
            return _AWAITS if awaits else SIMPLE
        known = self._known.get(key)
        if known is not None and all(self._resolve(name) == path for name, path in known.names.items()):
            return known.found
        names: dict[str, str | None] = {}

        def resolve(name: str) -> str | None:
            names[name] = path = self._resolve(name)
            return path

        tree = compile(code, "<mode>", "exec", _FLAGS, dont_inherit=True)
        found = classify_tree(tree, awaits=awaits, table=self.detection.table, resolve=resolve)
        self._known.put(key, _Known(found, names))
        return found

    def _mentions(self, cell: CompiledCell) -> bool:
        """Some name in the compiled code may be that of a blocking call, or is an alias of one in the namespace."""
        table, namespace = self.detection.table, self._namespace
        left = [statement.code for statement in cell.statements]
        while left:
            code = left.pop()
            for name in code.co_names:
                if table.mentions(name):
                    return True
                if name in namespace and (path := self._resolve(name)) and table.mentions(path.rpartition(".")[2]):
                    return True
            left += [one for one in code.co_consts if isinstance(one, types.CodeType)]
        return False

    def _resolve(self, name: str) -> str | None:
        if name not in self._namespace:
            return None
        value = self._namespace[name]
        if isinstance(value, types.ModuleType):
            return str(value.__name__)
        if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
            return _path(value.__module__, value.__qualname__)
        path = _path(type(value).__module__, type(value).__qualname__)
        return None if path is None else f"{path}()"


def _path(module: object, name: str) -> str | None:
    return f"{module}.{name}" if isinstance(module, str) and module not in ("__main__", "builtins") else None
