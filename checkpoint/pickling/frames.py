"""pandas: which frames, series and indexes hold the same memory, so that a write still copies it first.

pandas (2 and later) keeps that in an object that all blocks of the same memory share. Its own pickles make one for each
block, which is right for them, since they copy the memory too. Here memory stays shared, and so must that object.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

from checkpoint.pickling.importable import defined

type Reduced = tuple[Any, ...]


def recipe_for(cls: type) -> Callable[[Any], Reduced | None] | None:
    """How objects of exactly this class of pandas are saved; None for whatever needs nothing special."""
    internals: Any = sys.modules.get("pandas._libs.internals")
    if internals is None or not hasattr(internals, "BlockValuesRefs"):
        return None
    if cls is internals.BlockValuesRefs:
        return lambda _references: (make_references, ())
    if issubclass(cls, internals.Block):
        return _block
    managers = sys.modules.get("pandas.core.internals.managers")
    if cls is getattr(managers, "SingleBlockManager", None):
        return lambda manager: (make_manager, (cls, list(manager.blocks), list(manager.axes)))
    index = getattr(sys.modules.get("pandas"), "Index", None)
    return _index if index is not None and issubclass(cls, index) else None


def _block(block: Any) -> Reduced | None:
    reduced = block.__reduce__()
    references = getattr(block, "refs", None)
    return None if references is None or len(reduced) != 2 else (make_block, (*reduced, references))


def _index(index: Any) -> Reduced | None:
    if defined(type(index), "_references") is not None:  # it computes its values
        return None
    references = getattr(index, "_references", None)
    if references is None or not references.has_reference():
        return None
    reduced = index.__reduce__()
    if len(reduced) > 2 and reduced[2] is not None:
        return None
    return *reduced[:2], references, None, None, fill_index


def make_references() -> object:
    """An object that blocks of the same memory share, with none yet."""
    references: Any = importlib.import_module("pandas._libs.internals").BlockValuesRefs()
    references.referenced_blocks.clear()
    return references


def make_block(make: Callable[..., Any], arguments: tuple[object, ...], references: Any) -> object:
    """A block that says with which others it shares its memory."""
    block = make(*arguments)
    references.add_reference(block)
    block.refs = references
    return block


def make_manager(cls: Any, blocks: list[object], axes: list[object]) -> object:
    """The manager that a series holds. Its own pickles have the values of its block, not the block."""
    return cls.from_blocks(blocks, axes)


def fill_index(index: Any, references: Any) -> None:
    """Let an index say with which others it shares its memory."""
    index._references = references
    references.add_index_reference(index)
