"""A payload in a file that is only memory: written once, then sealed, so that another process can be given it to read.

The worker maps what the engine verified: the large values of a restore are copied once, into their place.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import weakref

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class MemoryFile:
    """`size` bytes behind `descriptor`, which is closed when nobody has this object any more. OSError: no memory."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.descriptor = os.memfd_create("checkpoint", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        weakref.finalize(self, os.close, self.descriptor)
        os.ftruncate(self.descriptor, size)

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """Write from any thread. Without a mapping: each page of one costs a fault."""
        view = memoryview(data)
        while view:
            count = os.pwrite(self.descriptor, view, offset)
            view, offset = view[count:], offset + count

    def seal(self) -> None:
        """Let nothing in the file change any more, whoever has the descriptor."""
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)

    def view(self) -> memoryview:
        """The contents of the file, for reading."""
        return mapped(self.descriptor, self.size)


def mapped(descriptor: int, size: int) -> memoryview:
    """The contents of a memory file, for reading while the view lives. OSError, ValueError: it is not that size."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_POPULATE
    return memoryview(mmap.mmap(descriptor, size, flags=flags, prot=mmap.PROT_READ))
