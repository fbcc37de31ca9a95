"""A large capture on its way into the store."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from checkpoint.blobs.directory import INLINE_BYTES_MAX, DirectoryBlobs
from checkpoint.engine_side.large_capture import bring
from checkpoint.format.compression import Bytes, packed
from checkpoint.format.payload import PYTHON, Contents, Payload, chunk_digest, encode_payload
from durable.core.errors import CheckpointError

NOISE = [random.Random(n).randbytes(2 * INLINE_BYTES_MAX) for n in range(20)]


def payload(chunks: list[bytes]) -> bytes:
    contents = Contents(python=PYTHON, packages={}, pages=(), modules=(), lost=(), rebuilt=(), internals={})
    return encode_payload(Payload(format="3", contents=contents, chunks=tuple(map(memoryview, chunks))))


def test_large_chunks_are_kept_small_ones_are_told_and_all_are_addressed(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path / "blobs")
    zeros, small = bytes(10 * INLINE_BYTES_MAX), b"small"
    hashed, told = bring(payload([*NOISE, zeros, small, NOISE[0], small]), blobs)
    assert hashed.chunks == {chunk_digest(data): data for data in (*NOISE, zeros, small)}
    assert told == [(chunk_digest(data).hex(), packed(data)) for data in (zeros, small)]
    assert {kept.digest for kept in blobs.list()} == {chunk_digest(data).hex() for data in NOISE}
    assert blobs.get(chunk_digest(NOISE[7]).hex()) == NOISE[7]


def test_writing_does_not_wait_for_the_last_to_be_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = threading.Event()

    class Noticed(DirectoryBlobs):
        def put_many(self, blobs: Iterable[tuple[str, Bytes]]) -> None:
            def seen() -> Iterable[tuple[str, Bytes]]:
                for each in blobs:
                    yield each
                    written.set()  # the one before is written when the next is asked for

            super().put_many(seen())

    def late(data: Bytes) -> Bytes:
        assert data != NOISE[-1] or written.wait(30)
        return packed(data)

    monkeypatch.setattr("checkpoint.engine_side.large_capture.packed", late)
    hashed, _ = bring(payload(NOISE), Noticed(tmp_path / "blobs"))
    assert len(hashed.chunks) == len(NOISE)


def test_what_cannot_be_written_is_an_error_and_leaves_no_drafts(tmp_path: Path) -> None:
    root = tmp_path / "blobs"
    root.mkdir()
    (root / chunk_digest(NOISE[9]).hex()[:2]).write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot be written"):
        bring(payload(NOISE), DirectoryBlobs(root))
    assert [*root.glob("??/*"), *root.glob("??/.*")] == []
    with pytest.raises(CheckpointError, match="not what"):
        bring(b"\x81junk", DirectoryBlobs(root))
