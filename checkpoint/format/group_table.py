"""The table of a checkpoint: its groups, spread over pages that are chunks themselves (specs/checkpoint.md)."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property

import msgspec

from checkpoint.format.payload import Contents, Group, Malformed, Page, PayloadPart, chunk_digest, chunk_sizes

PAGE_BYTES = 4 * 2**10
"""Bytes that a page is meant to hold: a small change costs about this much."""

type Groups = tuple[Group, ...]

_page_decoder = msgspec.msgpack.Decoder(tuple[Group, ...])
_encoder = msgspec.msgpack.Encoder()


class GroupTable:
    """A root with its pages, checked. Immutable; pages that two tables share are parsed once."""

    def __init__(self, contents: Contents, pages: Mapping[bytes, Groups]) -> None:
        self.contents = contents
        self.pages = pages
        self.groups: Groups = tuple(group for page in contents.pages for group in pages[page.digest])
        _check(contents, self.groups)

    @cached_property
    def digests(self) -> Mapping[bytes, int]:
        """Every chunk with its size in bytes: pages first, then in order of first use."""
        found = {page.digest: page.size for page in self.contents.pages}
        for group in self.groups:
            for part in group.parts:
                if isinstance(part, PayloadPart):
                    for digest, size in chunk_sizes(part):
                        found.setdefault(digest, size)
        return found


def read_table(
    contents: Contents, read: Callable[[bytes], bytes | memoryview], known: Mapping[bytes, Groups] | None = None
) -> GroupTable:
    """Parse the pages that are not `known`; `read` gives a page's verified bytes. CheckpointError."""
    pages: dict[bytes, Groups] = {}
    for page in contents.pages:
        found = known.get(page.digest) if known else None
        pages[page.digest] = _parse(read(page.digest)) if found is None else found
    return GroupTable(contents, pages)


def _parse(data: bytes | memoryview) -> Groups:
    try:
        return _page_decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise Malformed(f"a page of the checkpoint is not what specs/checkpoint.md says: {error}") from None


def _check(contents: Contents, groups: Iterable[Group]) -> None:
    """Invariants C2 and C3: a name is in one place, and what is needed is there."""
    seen: set[str] = set()
    count = 0
    for names in (*(group.names for group in groups), *((module.name,) for module in contents.modules)):
        seen.update(names)
        count += len(names)
        if len(seen) != count:
            raise Malformed(f"the checkpoint holds {', '.join(map(repr, names))[:200]} twice")
    for group in groups:
        for name in group.needs:
            if name not in seen:
                raise Malformed(f"the checkpoint refers to {name!r}, which it does not have")
        if group.names and not group.parts:
            raise Malformed(f"the checkpoint has no data for {group.names[0]!r}")
        for part in group.parts:
            if isinstance(part, PayloadPart):
                chunk_sizes(part)


def make_pages(groups: Iterable[Group], count: int) -> tuple[list[tuple[Page, bytes]], int]:
    """Encode groups into about `count` pages (0 for the first time); which page depends on a group's first name only.

    Also returns the count to use next: it changes when pages became four times too large or too small, because then
    every page is written anew. A group larger than a page has one of its own.
    """
    encoded = [(group.names[0] if group.names else group.kind, _encoder.encode(group)) for group in groups]
    total = sum(len(data) for _name, data in encoded if len(data) <= PAGE_BYTES)
    if not count or not count * PAGE_BYTES // 8 <= total <= count * PAGE_BYTES * 2:
        count = 1 << max(0, total // PAGE_BYTES).bit_length()
    buckets: dict[int, list[bytes]] = {}
    own = count
    for name, data in encoded:
        place = zlib.crc32(name.encode()) & (count - 1)
        if len(data) > PAGE_BYTES:
            place = own = own + 1
        buckets.setdefault(place, []).append(data)
    pages = []
    for place in sorted(buckets):
        datas = buckets[place]
        page = b"\xdd" + len(datas).to_bytes(4, "big") + b"".join(datas)
        pages.append((Page(len(page), chunk_digest(page)), page))
    return pages, count
