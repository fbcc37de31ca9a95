"""The engine's side: sealing untrusted payloads, opening signed ones, blobs. Nothing here unpickles."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from checkpoint.capture.incremental_capture import Capturer
from checkpoint.engine_side.seal import Sealed, open_into_memory, open_sealed, read_manifest, seal
from checkpoint.format.group_table import PAGE_BYTES, GroupTable
from checkpoint.format.payload import (
    FORMAT,
    CheckpointManifest,
    Contents,
    Group,
    Page,
    Payload,
    PayloadPart,
    StatementPosition,
    chunk_digest,
    encode_payload,
)
from checkpoint.format.signature import MAGIC, sign
from checkpoint.lost_names import LostNames
from checkpoint.restore import restore_into
from durable.core.errors import CheckpointError, CheckpointTampered

KEY = b"k" * 32
POSITION = StatementPosition(execution="s@1", n=1, statement=3, final=False, counters={"input": 2}, output_offset=17)


def sealed(
    payload: bytes,
    previous: tuple[CheckpointManifest, GroupTable] | None = None,
    profile: str = "open",
    key: bytes = KEY,
) -> Sealed:
    return seal(
        payload,
        session="s",
        position=POSITION,
        key=key,
        created_at_ms=5,
        profile=profile,
        grants=["http"],
        outcome=b'{"value": 1}',
        previous=previous,
        previous_id="p" if previous else None,
    )


def capturer() -> tuple[dict[str, object], Capturer]:
    namespace: dict[str, object] = {"__name__": "x", "a": [1], "b": b"y" * 3_000_000, "c": 7}
    return namespace, Capturer(namespace, lost=LostNames())


def test_what_was_sealed_opens_and_restores() -> None:
    namespace, capture = capturer()
    first = sealed(capture.capture().payload)
    store = dict(first.chunks)
    namespace["a"] = [2]
    second = sealed(capture.capture().payload, previous=(first.read, first.table))
    assert sum(len(data) for _digest, data in second.chunks) < PAGE_BYTES
    store.update(second.chunks)
    assert set(second.uses) <= store.keys()
    assert len(second.manifest) < 500
    manifest = read_manifest(second.manifest, KEY)
    assert manifest == second.read
    assert (manifest.position, manifest.outcome, manifest.previous) == (POSITION, b'{"value": 1}', "p")
    again: dict[str, object] = {}
    restore_into(
        again, open_sealed(second.manifest, lambda digests: {d: bytes(store[d]) for d in digests}, KEY, profile="open")
    )
    assert (again["a"], again["b"], again["c"]) == ([2], namespace["b"], 7)


def test_in_memory_it_is_the_same_and_nobody_can_change_it() -> None:
    one = sealed(capturer()[1].capture().payload)
    store = {digest: bytes(data) for digest, data in one.chunks}
    whole = open_sealed(one.manifest, lambda digests: {d: store[d] for d in digests}, KEY, profile="open")
    file = open_into_memory(one.read, one.table, lambda digests: {d: store[d] for d in digests}, profile="open")
    assert file.size == len(whole)
    assert bytes(file.view()) == whole
    with pytest.raises(OSError, match="not permitted"):
        file.write(b"x", 0)
    for change in (lambda: os.ftruncate(file.descriptor, 1), lambda: mmap.mmap(file.descriptor, file.size)):
        with pytest.raises(OSError, match="not permitted"):
            change()
    for digest, data in store.items():
        wrong = {**store, digest: data[:-1] + bytes([data[-1] ^ 1])}
        less = {key: value for key, value in store.items() if key != digest}
        with pytest.raises(CheckpointTampered, match=digest):
            open_into_memory(one.read, one.table, lambda ds, of=wrong: {d: of[d] for d in ds}, profile="open")  # type: ignore[misc]
        with pytest.raises(CheckpointError, match=f"{digest} of the checkpoint is missing"):
            open_into_memory(one.read, one.table, lambda ds, of=less: {d: of[d] for d in ds if d in of}, profile="open")  # type: ignore[misc]
    with pytest.raises(CheckpointError, match="grants"):
        open_into_memory(one.read, one.table, lambda _ds: store, profile="open", grants=("more",))


def test_a_namespace_of_nothing() -> None:
    payload = Capturer({}, lost=LostNames()).capture().payload
    one = sealed(payload)
    again: dict[str, object] = {}
    opened = open_sealed(
        one.manifest, lambda digests: {d: bytes(dict(one.chunks)[d]) for d in digests}, KEY, profile="open"
    )
    assert restore_into(again, opened)["restored"] == []


class TestTampering:
    def test_a_flipped_bit_anywhere_in_the_manifest(self) -> None:
        one = sealed(Capturer({"a": [1], "f": 2}, lost=LostNames()).capture().payload)
        for at in range(len(one.manifest)):
            changed = bytearray(one.manifest)
            changed[at] ^= 1 << (at % 8)
            with pytest.raises(CheckpointTampered):
                read_manifest(bytes(changed), KEY)

    def test_a_cut_or_grown_manifest(self) -> None:
        one = sealed(Capturer({"a": [1]}, lost=LostNames()).capture().payload)
        for wrong in (b"", one.manifest[:-1], one.manifest[:20], one.manifest + b"\0", b"junk" * 30):
            with pytest.raises(CheckpointTampered):
                read_manifest(wrong, KEY)

    def test_a_flipped_bit_anywhere_in_a_chunk(self) -> None:
        one = sealed(Capturer({"a": [1], "k": 2}, lost=LostNames()).capture().payload)
        chunks = dict(one.chunks)
        for digest, data in one.chunks:
            for at in range(len(data)):
                changed = bytearray(data)
                changed[at] ^= 1 << (at % 8)
                found = {**chunks, digest: bytes(changed)}
                with pytest.raises(CheckpointTampered, match=digest):
                    open_sealed(one.manifest, lambda _digests, found=found: found, KEY, profile="open")  # type: ignore[misc]

    def test_a_missing_a_longer_and_a_swapped_chunk(self) -> None:
        one = sealed(Capturer({"a": [1] * 999, "b": set(range(999))}, lost=LostNames()).capture().payload)
        (first, one_data), (second, other_data), *rest = [(d, bytes(data)) for d, data in one.chunks]
        with pytest.raises(CheckpointError, match=f"chunk {first} of the checkpoint is missing"):
            open_sealed(one.manifest, lambda _d: {second: other_data, **dict(rest)}, KEY, profile="open")
        for wrong in ({first: other_data, second: one_data}, {first: bytes(one_data) + b"\0", second: other_data}):
            with pytest.raises(CheckpointTampered):
                open_sealed(one.manifest, lambda _d, wrong=wrong: {**dict(rest), **wrong}, KEY, profile="open")  # type: ignore[misc]

    def test_another_stores_key(self) -> None:
        one = sealed(Capturer({"a": [1]}, lost=LostNames()).capture().payload)
        with pytest.raises(CheckpointTampered, match="signed by another store"):
            read_manifest(one.manifest, b"o" * 32)
        with pytest.raises(CheckpointError, match="at least 16 bytes"):
            sign(b"", b"short")

    def test_a_newer_format_is_named(self) -> None:
        body = msgspec.msgpack.encode({"format": "9", "something": "new"})
        with pytest.raises(CheckpointError, match="format '9', this version reads 2, 3"):
            read_manifest(sign(body, KEY), KEY)

    def test_a_signed_body_that_is_no_manifest(self) -> None:
        for body in (b"", b"\xc1", msgspec.msgpack.encode([1]), msgspec.msgpack.encode({"format": FORMAT})):
            with pytest.raises(CheckpointError, match="cannot be read"):
                read_manifest(sign(body, KEY), KEY)
        assert sign(b"", KEY).startswith(MAGIC)


class TestProfiles:
    def test_only_the_same_or_a_stricter_one(self) -> None:
        payload = Capturer({"a": [1]}, lost=LostNames()).capture().payload
        for origin, target, allowed in (
            ("open", "open", True),
            ("open", "isolated", True),
            ("isolated", "isolated", True),
            ("isolated", "open", False),
        ):
            one = sealed(payload, profile=origin)
            if allowed:
                open_sealed(one.manifest, lambda _d, one=one: dict(one.chunks), KEY, profile=target)  # type: ignore[misc]
            else:
                with pytest.raises(CheckpointError, match="'isolated', is not restored into an 'open' one"):
                    open_sealed(one.manifest, lambda _d: {}, KEY, profile=target)

    def test_no_more_grants(self) -> None:
        one = sealed(Capturer({"a": [1]}, lost=LostNames()).capture().payload)
        open_sealed(one.manifest, lambda _d: {d: bytes(data) for d, data in one.chunks}, KEY, profile="open", grants=[])
        with pytest.raises(CheckpointError, match="did not have: files"):
            open_sealed(
                one.manifest,
                lambda _d: {d: bytes(data) for d, data in one.chunks},
                KEY,
                profile="open",
                grants=["http", "files"],
            )

    def test_an_unknown_one(self) -> None:
        with pytest.raises(CheckpointError, match="no profile 'root'"):
            sealed(Capturer({}, lost=LostNames()).capture().payload, profile="root")


def payload_of(groups: list[Group], chunks: list[bytes], **more: object) -> bytes:
    page = msgspec.msgpack.encode(groups)
    contents = Contents(python="3.13", pages=(Page(len(page), chunk_digest(page)),), **more)  # type: ignore[arg-type]
    return encode_payload(Payload(FORMAT, contents, tuple(memoryview(chunk) for chunk in (page, *chunks))))


DATA = b"data"
PART = PayloadPart(4, (chunk_digest(DATA),))


class TestUntrustedPayloads:
    @pytest.mark.parametrize(
        ("payload", "message"),
        [
            (b"", "not what specs/checkpoint.md says"),
            (b"\xc1", "not what specs/checkpoint.md says"),
            (b"\x93" * 5_000, "not what specs/checkpoint.md says"),
            (payload_of([Group("values", ("a",), (), ())], []), "has no data for 'a'"),
            (encode_payload(Payload(FORMAT, Contents("3.13", (Page(4, PART.digests[0]),)), ())), "left out page"),
            (
                encode_payload(Payload(FORMAT, Contents("3.13", (Page(4, PART.digests[0]),)), (memoryview(DATA),))),
                "a page",
            ),
            (msgspec.msgpack.encode({"format": FORMAT}), "not what specs/checkpoint.md says"),
            (payload_of([], [], lost=[["n", "t", "r" * 3_000, ""]]), "not what specs/checkpoint.md says"),
            (payload_of([Group("values", ("n" * 2_000,), (), (PART,))], [DATA]), "not what specs/checkpoint.md says"),
            (payload_of([Group("values", ("a",), (), (PayloadPart(4, (b"short",)),))], [DATA]), "not what"),
            (payload_of([Group("values", ("a",), (), (PART,))] * 2, [DATA]), "holds 'a' twice"),
            (payload_of([Group("values", ("a",), ("b",), (PART,))], [DATA]), "refers to 'b', which it does not have"),
            (payload_of([Group("values", ("a",), (), (PayloadPart(5, ()),))], [DATA]), "cannot have 0 chunks"),
            (
                payload_of([Group("values", ("a",), (), (PayloadPart(2**50, PART.digests),))], [DATA]),
                "cannot have 1 chunks",
            ),
            (payload_of([Group("values", ("a",), (), (PART,))], []), "left out chunk"),
            (payload_of([Group("values", ("a",), (), (PART,))], [DATA, b"more"]), "does not have"),
            (payload_of([Group("values", ("a",), (), (PayloadPart(3, PART.digests),))], [DATA]), "does not have"),
            (encode_payload(Payload("9", Contents("3.13", ()), ())), "format '9'"),
        ],
    )
    def test_is_refused(self, payload: bytes, message: str) -> None:
        with pytest.raises(CheckpointError, match=message):
            sealed(payload)

    def test_a_chunk_of_another_session_is_not_carried_over(self) -> None:
        namespace, capture = capturer()
        first = sealed(capture.capture().payload)
        payload = capture.capture().payload
        other = msgspec.structs.replace(first.read, session="other")
        assert sealed(payload, previous=(first.read, first.table)).chunks == []
        for previous in ((other, first.table), None):
            with pytest.raises(CheckpointError, match="left out page"):
                sealed(payload, previous=previous)
        assert namespace

    def test_after_forget_it_is_whole_again(self) -> None:
        _namespace, capture = capturer()
        capture.capture()
        capture.forget()
        assert sealed(capture.capture().payload).chunks

    def test_an_outcome_too_large(self) -> None:
        with pytest.raises(CheckpointError, match="outcome"):
            seal(
                Capturer({}, lost=LostNames()).capture().payload,
                session="s",
                position=POSITION,
                key=KEY,
                created_at_ms=1,
                outcome=b"0" * (2**24 + 1),
            )

    def test_the_engines_side_never_imports_the_unpickling_half(self) -> None:
        code = (
            "import sys, checkpoint.engine_side.seal, checkpoint.blobs.directory\n"
            "unpickling = {'cloudpickle', 'checkpoint.restore', 'checkpoint.pickling', 'checkpoint.capture'}\n"
            "assert not unpickling & sys.modules.keys()"
        )
        subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
