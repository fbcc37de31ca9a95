"""numpy arrays: their bytes out of band, views with their base. Used only when the session has loaded numpy."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from checkpoint.pickling.objects import Columns, reduce_objects
from checkpoint.pickling.rebuild import Pieces

if TYPE_CHECKING:
    import numpy

    type Array = numpy.ndarray[tuple[int, ...], numpy.dtype[numpy.generic]]
    type Reduced = tuple[object, tuple[object, ...]]

OUT_OF_BAND_BYTES_MIN = 16 * 2**10
"""Smaller buffers stay in the pickle: a part of its own costs more than copying them."""


def reduce_array(array: Array, columns: Columns) -> Reduced | None:
    """How to save an exact ndarray; None leaves it to numpy (objects of any kind inside, or no contiguous owner)."""
    import numpy

    base = array.base
    if base is None:
        return reduce_objects(array, columns) if array.dtype.hasobject else _reduce_owner(array)
    while isinstance(base, numpy.ndarray) and base.base is not None:
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    return _reduce_view(array, base) if array.size else None


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

    if type(owner) is numpy.ndarray:
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
        order: Any = "C" if owner.flags.c_contiguous else "F"
        buffer = owner.reshape(owner.size, order=order) if owner.dtype.hasobject else _flat(owner, order)
    array: Array = numpy.ndarray(shape, dtype, buffer, offset, strides)  # type: ignore[arg-type]
    array.flags.writeable = writeable and array.flags.writeable
    return array
