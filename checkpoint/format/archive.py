"""A checkpoint as one file, to be kept or taken elsewhere (specs/checkpoint.md, One file).

Its manifest is the signed one of the store that it came from, and every chunk is verified by its digest; the digest at
the end is for what neither covers, and for copies that were cut short.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from checkpoint.format.compression import Bytes
from checkpoint.format.payload import PAGE_BYTES_MAX
from checkpoint.format.signature import MANIFEST_BYTES_MAX
from durable.core.errors import CheckpointError, CheckpointTampered

MAGIC = b"durexpt\x00"
FORMAT = "1"
_SIZE_BYTES = 4
_END_BYTES = 32
_READ_BYTES = 2**20
_HEAD_BYTES_MAX = MANIFEST_BYTES_MAX + 2**16


class ArchiveHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The first part. `key` names the key that signed `manifest` (`signature.key_id`); `chunks` follow.

    language: of the session's cells.
    """

    format: str
    key: str
    label: str | None
    manifest: bytes
    chunks: tuple[str, ...]
    language: str = "python"


_heads = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_head = msgspec.msgpack.Decoder(ArchiveHead)


def write(path: Path, head: ArchiveHead, chunks: Iterable[Bytes]) -> int:
    """Write a file whole or not at all, readable by its owner only; its size in bytes.

    CheckpointError when there is one already, or it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                digest = hashlib.sha256()
                for piece in _pieces(head, chunks):
                    file.write(piece)
                    digest.update(piece)
                file.write(digest.digest())
                file.flush()
                os.fsync(file.fileno())
                size = file.tell()
            os.link(draft, path)  # not a rename: a file that is there stays
        finally:
            draft.unlink()
    except FileExistsError:
        raise CheckpointError(f"{str(path)!r} exists; name another file") from None
    except OSError as error:
        raise CheckpointError(f"{str(path)!r} cannot be written: {error.strerror or error}") from None
    return size


def _pieces(head: ArchiveHead, chunks: Iterable[Bytes]) -> Iterator[Bytes]:
    yield MAGIC
    for piece in (msgspec.msgpack.encode(head), *chunks):
        yield len(piece).to_bytes(_SIZE_BYTES, "big")
        yield piece


def read(path: Path) -> tuple[ArchiveHead, dict[str, bytes]]:
    """The head and the chunks as they are kept, by digest; what they mean is not yet verified.

    CheckpointTampered for a file that is not whole as it was written, CheckpointError for a newer format.
    """
    try:
        with path.open("rb") as file:
            _check_whole(file, path)
            file.seek(len(MAGIC))
            head = _read_head(_piece(file, _HEAD_BYTES_MAX))
            return head, {digest: _piece(file, PAGE_BYTES_MAX + 2**10) for digest in head.chunks}
    except OSError as error:
        raise CheckpointError(f"{str(path)!r} cannot be read: {error.strerror or error}") from None


def _check_whole(file: BinaryIO, path: Path) -> None:
    if file.read(len(MAGIC)) != MAGIC:
        raise CheckpointTampered(f"{str(path)!r} is not an exported checkpoint")
    left = os.fstat(file.fileno()).st_size - len(MAGIC) - _END_BYTES
    digest = hashlib.sha256(MAGIC)
    while left > 0:
        some = file.read(min(left, _READ_BYTES))
        digest.update(some)
        left -= len(some) or left
    if file.read() != digest.digest():
        raise CheckpointTampered(f"{str(path)!r} was changed, or is not all there")


def _read_head(data: bytes) -> ArchiveHead:
    try:
        found = msgspec.msgpack.decode(_heads.decode(data)["format"], type=str)
        if found != FORMAT:
            raise CheckpointError(f"the file has format {found[:20]!r}, this version reads {FORMAT!r}")
        return _head.decode(data)
    except (msgspec.MsgspecError, KeyError) as error:
        raise CheckpointError(f"the file's head cannot be read: {error}") from None


def _piece(file: BinaryIO, size_max: int) -> bytes:
    size = int.from_bytes(file.read(_SIZE_BYTES), "big")
    if size > size_max:
        raise CheckpointError(f"the file has a part of {size} bytes, at most {size_max} are read")
    return file.read(size)
