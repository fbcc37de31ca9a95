"""Which pages of this process's memory were written: userfaultfd's asynchronous write protection, read by PAGEMAP_SCAN.

Linux 6.7 or later. A page counts as clean only when the kernel says that it is there, protected, and not written: a
page that was dropped (MADV_DONTNEED) or mapped anew counts as written. The numbers are the kernel's ABI
(include/uapi/linux/userfaultfd.h, fs.h), the same on x86-64 and arm64 but for the system call.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import platform
import struct
from contextlib import suppress

_SYSCALL = {"x86_64": 323, "aarch64": 282}
_USER_MODE_ONLY = 1
_API, _REGISTER, _UNREGISTER, _PROTECT = 0xC018AA3F, 0xC020AA00, 0x8010AA01, 0xC018AA06
_API_VERSION, _MODE_WP = 0xAA, 2
_FEATURES = 1 << 15 | 1 << 13 | 1 << 0
"""WP_ASYNC, WP_UNPOPULATED, PAGEFAULT_FLAG_WP."""

_SCAN = 0xC0606610
_SCAN_FORMAT = "=12Q"
_CHECK_ASYNC = 2
_ALLOWED, _WRITTEN, _PRESENT, _SWAPPED = 1, 2, 8, 16
_REGIONS_MAX = 1_024
"""Answered by one scan; a longer answer takes several."""

PAGE = mmap.PAGESIZE

type Ranges = list[tuple[int, int]]
"""Addresses, from and to, in bytes."""


class PageMap:
    """Write tracking of ranges of pages. OSError at creation where the kernel cannot, or does it wrong."""

    def __init__(self) -> None:
        number = _SYSCALL.get(platform.machine())
        if number is None:
            raise OSError("write tracking is not known for this processor")
        libc = ctypes.CDLL(None, use_errno=True)
        self._fault_fd: int = libc.syscall(number, os.O_CLOEXEC | os.O_NONBLOCK | _USER_MODE_ONLY)
        if self._fault_fd < 0:
            raise OSError(ctypes.get_errno(), "userfaultfd is not allowed here")
        self._map_fd = -1
        try:
            fcntl.ioctl(self._fault_fd, _API, struct.pack("=3Q", _API_VERSION, _FEATURES, 0))
            self._map_fd = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
            self._found = (ctypes.c_uint64 * (3 * _REGIONS_MAX))()
            self._test()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop tracking everything."""
        os.close(self._fault_fd)
        if self._map_fd >= 0:
            os.close(self._map_fd)

    def track(self, start: int, end: int) -> None:
        """Note writes to these pages from now on. OSError when it is not ordinary memory."""
        fcntl.ioctl(self._fault_fd, _REGISTER, struct.pack("=4Q", start, end - start, _MODE_WP, 0))
        self.protect(start, end)

    def protect(self, start: int, end: int) -> None:
        """Forget earlier writes to these pages."""
        fcntl.ioctl(self._fault_fd, _PROTECT, struct.pack("=3Q", start, end - start, 1))

    def release(self, start: int, end: int) -> None:
        """Stop tracking; whatever is there now."""
        with suppress(OSError):
            fcntl.ioctl(self._fault_fd, _UNREGISTER, struct.pack("=2Q", start, end - start))

    def written(self, start: int, end: int) -> Ranges:
        """The pages that are not known to be unwritten. OSError when a part is not tracked (any more)."""
        written: Ranges = []
        at = start
        while at < end:
            argument = bytearray(
                struct.pack(
                    _SCAN_FORMAT, 96, _CHECK_ASYNC, at, end, 0, ctypes.addressof(self._found), _REGIONS_MAX, 0,
                    _WRITTEN, _ALLOWED | _WRITTEN, _PRESENT | _SWAPPED, _ALLOWED,
                )
            )  # fmt: skip
            count = fcntl.ioctl(self._map_fd, _SCAN, argument)
            reached = struct.unpack(_SCAN_FORMAT, argument)[4]
            for index in range(count):
                first, last = self._found[3 * index], self._found[3 * index + 1]
                if first > at:
                    written.append((at, first))
                at = last
            if at < reached:
                written.append((at, reached))
                at = reached
            if not count and reached < end:
                raise OSError("the kernel did not scan the whole range")
        return written

    def _test(self) -> None:
        """Try it: some kernels have parts of it, or answer wrongly."""
        pages = 8
        memory = mmap.mmap(-1, pages * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        anchor = ctypes.c_char.from_buffer(memory)
        start = ctypes.addressof(anchor)
        end = start + pages * PAGE
        del anchor
        try:
            memory[:] = b"x" * len(memory)
            self.track(start, end)
            answers = [self.written(start, end)]
            memory[3 * PAGE] = 1
            answers.append(self.written(start, end))
            self.protect(start + 3 * PAGE, start + 4 * PAGE)
            answers.append(self.written(start, end))
            memory.madvise(mmap.MADV_DONTNEED, 5 * PAGE, PAGE)
            answers.append(self.written(start, end))
            self.release(start, end)
        finally:
            memory.close()
        page3, page5 = ([(start + n * PAGE, start + (n + 1) * PAGE)] for n in (3, 5))
        if answers != [[], page3, [], page5]:
            raise OSError("the kernel's write tracking gives wrong answers")
