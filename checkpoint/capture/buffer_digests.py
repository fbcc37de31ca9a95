"""The large buffers of a namespace: the digests of their chunks, and which chunks were written since.

Between captures the kernel notes writes (dirty_pages.py). Where it cannot, every chunk is hashed again. A buffer is
known by its address and length: memory that was freed and used again counts as written, page by page.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from checkpoint.capture.dirty_pages import PAGE, PageMap, Ranges
from checkpoint.format.payload import CHUNK_BYTES

TRACKED_BYTES_MIN = 256 * 2**10
"""Smaller buffers are hashed: that takes less than a tenth of a millisecond."""

UNTRACKED_LOOKS_MIN = 8
"""A buffer of which half was written is not tracked for so many looks: tracking splits its huge pages and makes the
next write to each page a fault, and hashing it is the child's work anyway."""

type Place = tuple[int, int]
"""Address and length of a buffer, in bytes."""

type Digests = list[bytes | None]
"""Digests of a buffer's chunks in order; None for one that has to be hashed."""


@dataclass(slots=True)
class _Region:
    """One tracked buffer. Its first and last bytes share pages with other memory, so they are kept and compared."""

    first: int
    last: int
    head: bytes
    tail: bytes
    digests: Digests


class Buffers:
    """The tracked buffers of one process, which has one of these: the kernel lets one at a time track a page."""

    def __init__(self) -> None:
        self._regions: dict[Place, _Region] = {}
        self._pages: PageMap | None = None
        self._hot: dict[Place, int] = {}
        self._memory = -1
        try:
            self._memory = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
            self._pages = PageMap()
        except OSError:
            return

    @property
    def tracks(self) -> bool:
        """Whether the kernel notes writes here."""
        return self._pages is not None

    def close(self) -> None:
        """Track nothing any more."""
        if self._pages is not None:
            self._pages.close()
            self._pages = None
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1
        self._regions.clear()

    def look(self, places: Iterable[Place], always: Collection[Place] = ()) -> dict[Place, Digests]:
        """The digests that still hold, for the buffers at these places; from now on writes count for the next look.

        Those in `always` are tracked even when half of them was written.
        """
        wanted = {place for place in places if place[1] >= TRACKED_BYTES_MIN}
        if self._pages is None:
            return {}
        for place in self._regions.keys() - wanted:
            region = self._regions.pop(place)
            self._pages.release(region.first, region.last)
        written: Ranges = []
        for place, region in list(self._regions.items()):
            try:
                found = self._pages.written(region.first, region.last)
                self._mark(place, region, found)
            except OSError:  # mapped anew, not tracked any more, or gone
                del self._regions[place]
            else:
                written += found
        self._hot = {place: looks - 1 for place, looks in self._hot.items() if looks > 1 and place in wanted}
        for place, region in list(self._regions.items()):
            if place not in always and 2 * sum(digest is None for digest in region.digests) > len(region.digests) > 1:
                self._hot[place] = UNTRACKED_LOOKS_MIN
                self._pages.release(region.first, region.last)
                del self._regions[place]
        for place in wanted - self._regions.keys() - self._hot.keys():
            self._track(place)
        for first, last in written:  # after all scans: a page may belong to two buffers
            self._protect(first, last)
        return {place: list(region.digests) for place, region in self._regions.items()}

    def adopt(self, place: Place, digests: Sequence[bytes]) -> bool:
        """Track a buffer whose chunks have these digests now; whether that can be done."""
        if self._pages is None:
            return False
        self._regions.pop(place, None)  # of a buffer that was there before
        self._track(place)
        region = self._regions.get(place)
        if region is None or len(region.digests) != len(digests):
            return False
        region.digests = [*digests]
        return True

    def learn(self, digests: Mapping[Place, Digests]) -> None:
        """Take the digests of the last look's unknown chunks."""
        for place, region in self._regions.items():
            found = digests.get(place)
            if found is not None and len(found) == len(region.digests):
                region.digests = list(found)

    def _track(self, place: Place) -> None:
        assert self._pages is not None
        address, length = place
        first, last = -(-address // PAGE) * PAGE, (address + length) // PAGE * PAGE
        try:
            self._pages.track(first, last)
            head, tail = self._edges(place, first, last)
        except OSError:
            return  # a file's memory, or gone
        self._regions[place] = _Region(first, last, head, tail, [None] * (-(-length // CHUNK_BYTES)))

    def _protect(self, first: int, last: int) -> None:
        assert self._pages is not None
        try:
            self._pages.protect(first, last)
        except OSError:  # unmapped meanwhile: what is there next counts as written
            return

    def _mark(self, place: Place, region: _Region, written: Ranges) -> None:
        address, _length = place
        for first, last in written:
            for index in range((first - address) // CHUNK_BYTES, (last - 1 - address) // CHUNK_BYTES + 1):
                region.digests[index] = None
        head, tail = self._edges(place, region.first, region.last)
        if head != region.head:
            region.head, region.digests[0] = head, None
        if tail != region.tail:
            region.tail, region.digests[-1] = tail, None

    def _edges(self, place: Place, first: int, last: int) -> tuple[bytes, bytes]:
        """Read through the kernel: a buffer that was freed is an OSError, not a crash."""
        address, length = place
        return (
            os.pread(self._memory, first - address, address),
            os.pread(self._memory, address + length - last, last),
        )


def place_of(view: memoryview) -> Place:
    """Where a contiguous buffer is."""
    buffer = _PyBuffer()
    _get_buffer(view, ctypes.byref(buffer), 0)
    try:
        return int(buffer.buf or 0), int(buffer.len)
    finally:
        _release_buffer(ctypes.byref(buffer))


class _PyBuffer(ctypes.Structure):
    """CPython's Py_buffer."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = [ctypes.py_object, ctypes.c_void_p, ctypes.c_int]
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = [ctypes.c_void_p]
_release_buffer.restype = None
