"""Arrays of objects that cannot change, such as a frame's columns of text: pickled apart from what holds them, and not
again while the kernel says that none of the array's pointers was written (worker side).

An array keeps its objects alive, so pointers that were not written mean the same objects, and these are immutable. In
the pages at its ends, which it shares with other memory, equal pointers need not be unwritten ones: there the values
are compared. Identity is not kept, as it never is of short texts and numbers.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from checkpoint.capture.buffer_digests import Place
from checkpoint.capture.dirty_pages import PAGE
from checkpoint.format.payload import PayloadPart
from checkpoint.pickling.loaders import Pieces
from checkpoint.pickling.unsaveable import type_key

if TYPE_CHECKING:
    import numpy

    type Objects = numpy.ndarray[tuple[int, ...], numpy.dtype[Any]]

COLUMN_ITEMS_MIN = 1_000
"""Shorter arrays are pickled with what holds them."""

_IMMUTABLE = frozenset((str, int, float, bool, type(None), bytes, complex))
_IMMUTABLE_KEYS = frozenset(("pandas._libs.missing.NAType", "datetime.date", "decimal.Decimal", "uuid.UUID"))


type Known = tuple[PayloadPart, bytes]
"""The part to which a column was pickled, and the values at its ends."""


@dataclass(frozen=True, slots=True)
class Column:
    """The objects of one array: pickled now, or the part that they were when they were pickled last."""

    place: Place
    data: bytes | PayloadPart
    ends: bytes


@dataclass(slots=True)
class Columns:
    """The known columns of one namespace, and those that one pickler met."""

    known: Mapping[Place, Known] = field(default_factory=dict)
    """Columns whose pointers were not written since, but for the pages at their ends."""
    met: dict[int, tuple[bytes, Column]] = field(default_factory=dict)
    """Columns by the id of what stands for them in the stream, which is kept so that the id stays its own."""


def reduce_objects(array: Objects, columns: Columns) -> tuple[object, tuple[object, ...]] | None:
    """How to save an array that owns its memory; None leaves it to numpy."""
    if array.size < COLUMN_ITEMS_MIN or array.dtype.fields is not None:
        return None
    order = "C" if array.flags.c_contiguous else "F"
    if order == "F" and not array.flags.f_contiguous:
        return None
    flat = array.reshape(array.size, order="C" if order == "C" else "F")
    address = int(array.__array_interface__["data"][0])
    ends = _pickled(_ends(flat, address))
    if ends is None:
        return None
    data: bytes | PayloadPart | None
    data, ends_before = columns.known.get((address, array.nbytes), (None, b""))
    if ends != ends_before or data is None:
        data = _pickled(flat.tolist())
        if data is None:
            return None
    stands_for_it = bytes(bytearray(1))
    columns.met[id(stands_for_it)] = stands_for_it, Column((address, array.nbytes), data, ends)
    return rebuild_objects, (pickle.PickleBuffer(stands_for_it), array.shape, order, array.flags.writeable)


def _ends(flat: Objects, address: int) -> list[object]:
    """The values in pages that are not the array's own."""
    head, tail = -address % PAGE // flat.itemsize, (address + flat.nbytes) % PAGE // flat.itemsize
    return [*flat[:head].tolist(), *flat[max(head, flat.size - tail) :].tolist()]


def _pickled(values: list[Any]) -> bytes | None:
    if not all(map(_immutable, set(map(type, values)))):
        return None
    return pickle.dumps(values, 5)


def _immutable(cls: type) -> bool:
    return cls in _IMMUTABLE or type_key(cls) in _IMMUTABLE_KEYS


def rebuild_objects(data: Pieces, shape: tuple[int, ...], order: str, writeable: bool) -> Objects:
    """An array that owns its memory, as it did."""
    import numpy

    array: Objects = numpy.empty(shape, object, order="F" if order == "F" else "C")
    array.reshape(array.size, order="F" if order == "F" else "C")[:] = pickle.loads(data)
    array.flags.writeable = writeable
    return array
