"""Which chunks of a large buffer still have their digests: nothing that was written may pass as unwritten."""

from __future__ import annotations

import ctypes
import mmap
import random
from collections.abc import Iterator

import numpy as np
import pytest

from checkpoint.capture.buffer_digests import Buffers, Digests, Place, place_of
from checkpoint.format.payload import CHUNK_BYTES, chunk_digest, cut

SIZE = 3 * CHUNK_BYTES + 12_345


def hashed(view: memoryview) -> Digests:
    return [chunk_digest(chunk) for chunk in cut(view)]


def look(buffers: Buffers, *views: memoryview) -> dict[Place, Digests]:
    return buffers.look([place_of(view) for view in views])


@pytest.fixture
def buffers() -> Iterator[Buffers]:
    found = Buffers()
    if not found.tracks:
        pytest.skip("this kernel (before 6.7, or confined) does not note writes; everything is hashed")
    yield found
    found.close()


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_known_is_true(buffers: Buffers, seed: int) -> None:
    rng = random.Random(seed)
    arrays = [np.arange(SIZE, dtype=np.uint8), np.zeros(SIZE + 999, np.uint8), np.ones(400_000, np.uint8)[77:-33]]
    kept = 0
    for _round in range(20):
        views = [memoryview(array) for array in arrays]
        found = look(buffers, *views)
        for view in views:
            known, true = found.get(place_of(view), []), hashed(view)
            assert all(one is None or one == other for one, other in zip(known, true, strict=bool(known)))
            kept += sum(one is not None for one in known)
        buffers.learn({place_of(view): hashed(view) for view in views})
        for array in arrays:
            for _write in range(rng.randrange(3)):
                at = rng.choice((0, len(array) - 1, rng.randrange(len(array))))
                array[at] += 1
        if rng.random() < 0.1:
            arrays[rng.randrange(2)] = np.zeros(SIZE, np.uint8)  # often where the other was
    assert kept > 50


def test_unwritten_is_known_and_one_written_byte_costs_one_chunk(buffers: Buffers) -> None:
    array = np.zeros(SIZE, np.uint8)
    view = memoryview(array)
    look(buffers, view)
    buffers.learn({place_of(view): hashed(view)})
    assert look(buffers, view)[place_of(view)] == hashed(view)
    array[2 * CHUNK_BYTES + 5] = 1
    found = look(buffers, view)[place_of(view)]
    assert [index for index, digest in enumerate(found) if digest is None] in ([2], [1, 2])


def test_pages_that_were_dropped_count_as_written(buffers: Buffers) -> None:
    memory = mmap.mmap(-1, 4 * CHUNK_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory[:] = b"x" * len(memory)
    view = memoryview(memory)
    look(buffers, view)
    buffers.learn({place_of(view): hashed(view)})
    memory.madvise(mmap.MADV_DONTNEED, CHUNK_BYTES, mmap.PAGESIZE)
    known = look(buffers, view)[place_of(view)]
    assert known[1] is None
    assert memory[CHUNK_BYTES] == 0


def test_memory_that_is_gone_is_forgotten(buffers: Buffers) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    size = 2 * CHUNK_BYTES
    address = libc.mmap(None, size, 3, 0x22, -1, 0)
    place = (address + 10, size - 20)
    assert place in buffers.look([place])
    buffers.learn({place: [b"a", b"b"]})
    libc.munmap(address, size)
    assert place not in buffers.look([place])
    assert libc.mmap(address, size, 3, 0x32, -1, 0) == address
    assert buffers.look([place])[place] == [None, None]
    libc.munmap(address, size)


def test_a_buffer_that_is_written_all_over_is_left_alone_for_a_while(buffers: Buffers) -> None:
    array = np.zeros(SIZE, np.uint8)
    view = memoryview(array)
    look(buffers, view)
    buffers.learn({place_of(view): hashed(view)})
    array += 1
    assert place_of(view) not in look(buffers, view)
    looks = 1
    while place_of(view) not in look(buffers, view):
        looks += 1
    assert looks == 8


def test_what_a_restore_placed_is_known_until_it_is_written(buffers: Buffers) -> None:
    array = np.arange(SIZE, dtype=np.uint8)
    view = memoryview(array)
    digests = [chunk_digest(chunk) for chunk in cut(view)]
    assert not buffers.adopt(place_of(view), digests[:-1]), "not the digests of this buffer"
    assert buffers.adopt(place_of(view), digests)
    assert look(buffers, view)[place_of(view)] == digests
    array[CHUNK_BYTES * 3 // 2] += 1
    assert look(buffers, view)[place_of(view)] == [digests[0], None, *digests[2:]]
