"""numpy arrays: their bytes out of band, views with their base. Used only when the session has loaded numpy."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from checkpoint.pickling import loaders
from checkpoint.pickling.importable import attributes_of, python_line
from checkpoint.pickling.instances import slots_of
from checkpoint.pickling.loaders import Pieces
from checkpoint.pickling.object_columns import Columns, reduce_objects
from checkpoint.pickling.unsaveable import Unsaveable

if TYPE_CHECKING:
    import numpy

    type Array = numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.generic]]
    type Reduced = tuple[Any, ...]

_HOOKS = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")


class RebuildNotes(Protocol):
    """Where a recipe says what will be made anew."""

    def note(self, how: str) -> None:
        """One short sentence."""


OUT_OF_BAND_BYTES_MIN = 16 * 2**10
"""Smaller buffers stay in the pickle: a part of its own costs more than copying them."""


def reduce_array(array: Array, columns: Columns) -> Reduced | None:
    """How to save an exact ndarray; None leaves it to numpy (objects of any kind inside, or no contiguous owner)."""

    if array.base is None:
        return reduce_objects(array, columns) if array.dtype.hasobject else _reduce_owner(array)
    return _reduce_view(array, _owner(array.base)) if array.size else None


def _owner(base: object) -> object:
    """The owner of a view's memory: an array, a map of a file, bytes or a bytearray."""
    import numpy

    while isinstance(base, numpy.ndarray) and base.base is not None:
        if isinstance(base, numpy.memmap) and not isinstance(base.base, numpy.ndarray):
            break
        base = base.base
    return base.obj if isinstance(base, memoryview) else base


def subclass_recipe(cls: type) -> Callable[[Any, RebuildNotes], Reduced | None] | None:
    """How arrays of exactly this subclass are saved: as a view of plain memory, which others may share, and with their
    attributes. None for one that says itself how it is pickled."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not issubclass(cls, numpy.ndarray) or cls is numpy.ndarray:
        return None
    if issubclass(cls, numpy.memmap):
        return _memory_map
    masked = getattr(sys.modules.get("numpy.ma"), "MaskedArray", numpy.ndarray)
    line = [base for base in python_line(cls) if base is not masked]
    return None if any(name in vars(base) for base in line for name in _HOOKS) else _subclass


def _subclass(array: Any, _notes: RebuildNotes) -> Reduced:
    import numpy

    plain, owner = array.view(numpy.ndarray), array if array.base is None else _owner(array.base)
    if array.base is None and not array.dtype.hasobject:
        reduced = _reduce_owner(plain)
    else:
        reduced = _reduce_view(plain, owner) if array.size and owner is not array else None
    if reduced is None:  # nothing that could be shared: as plain pickle does
        reduced = numpy.array, (numpy.array(plain),)
    state = (attributes_of(array), slots_of(array), ())
    return rebuild_subclass, (type(array), *reduced), state, None, None, loaders.fill_instance


def rebuild_subclass(cls: Any, make: Callable[..., Any], arguments: tuple[object, ...]) -> Any:
    """An array of a subclass over plain memory."""
    return make(*arguments).view(cls)


def _memory_map(array: Any, notes: RebuildNotes) -> Reduced:
    import numpy

    root = array
    while isinstance(root.base, numpy.ndarray):
        root = root.base
    if root is not array:
        view = _reduce_view(array.view(numpy.ndarray), root)
        if view is not None:
            return rebuild_subclass, (type(array), *view)
    if root is not array or array.filename is None or array.mode == "c":
        raise Unsaveable("mmap.mmap", type(array))
    array.flush()
    notes.note("a map of a file is mapped again")
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    mode = "r" if array.mode == "r" else "r+"
    return rebuild_memory_map, (type(array), array.filename, array.dtype, mode, array.offset, array.shape, order)


def rebuild_memory_map(
    cls: Any, path: object, dtype: object, mode: str, offset: int, shape: tuple[int, ...], order: str
) -> Any:
    """The same part of a file. FileNotFoundError when it is gone; nothing is created or truncated."""
    return cls(path, dtype=dtype, mode=mode, offset=offset, shape=shape, order=order)


def _reduce_owner(array: Array) -> Reduced | None:
    order = "C" if array.flags.c_contiguous else "F"
    if order == "F" and not array.flags.f_contiguous:
        return None
    arguments = (array.dtype, array.shape, order, array.flags.writeable)
    if array.nbytes < OUT_OF_BAND_BYTES_MIN:
        return rebuild_array, (array.tobytes("A"), *arguments)
    return rebuild_array, (pickle.PickleBuffer(_flat(array, order)), *arguments)


def _flat(array: Array, order: str) -> Array:
    """The bytes of a contiguous array, without copying; every dtype can be seen as bytes."""
    import numpy

    return array.reshape(array.size, order="F" if order == "F" else "C").view(numpy.uint8)


def rebuild_array(
    data: bytes | bytearray | memoryview | Pieces,
    dtype: numpy.dtype[numpy.generic],
    shape: tuple[int, ...],
    order: str,
    writeable: bool,
) -> Array:
    """An array that owns its memory, as it did."""
    import numpy

    array: Array = numpy.empty(shape, dtype, order="F" if order == "F" else "C")
    start, flat = 0, _flat(array, order)
    for chunk in data.chunks if isinstance(data, Pieces) else [data]:
        flat[start : start + len(chunk)] = numpy.frombuffer(chunk, numpy.uint8)
        start += len(chunk)
    if isinstance(data, Pieces):
        data.placed(memoryview(flat))
    array.flags.writeable = writeable
    return array


def _address(value: object) -> int:
    import numpy

    array = value if isinstance(value, numpy.ndarray) else numpy.frombuffer(value, numpy.uint8)  # type: ignore[call-overload]
    return int(array.__array_interface__["data"][0])


def _reduce_view(array: Array, owner: object) -> Reduced | None:
    import numpy

    if isinstance(owner, numpy.ndarray):
        if owner.dtype.hasobject and not (owner.dtype == object == array.dtype):
            return None
        if not (owner.flags.c_contiguous or owner.flags.f_contiguous):
            return None
    elif type(owner) not in (bytes, bytearray):
        return None
    offset = _address(array) - _address(owner)
    return rebuild_view, (owner, offset, array.dtype, array.shape, array.strides, array.flags.writeable)


def rebuild_view(
    owner: object,
    offset: int,
    dtype: numpy.dtype[numpy.generic],
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    writeable: bool,
) -> Array:
    """A view into the memory of `owner`, which is an array, bytes or a bytearray."""
    import numpy

    buffer: object = owner
    if isinstance(owner, numpy.ndarray):
        owner = owner.view(numpy.ndarray)
        order: Any = "C" if owner.flags.c_contiguous else "F"
        buffer = owner.reshape(owner.size, order=order) if owner.dtype.hasobject else _flat(owner, order)
    array: Array = numpy.ndarray(shape, dtype, buffer, offset, strides)  # type: ignore[arg-type]
    array.flags.writeable = writeable and array.flags.writeable
    return array
