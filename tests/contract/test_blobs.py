"""Every place for large chunks keeps them alike; how each of them survives a kill, a sweep, a refusal."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from checkpoint.blobs.directory import TOGETHER_MIN, Blobs, DirectoryBlobs, Moved
from checkpoint.blobs.object_store import ObjectBlobs
from checkpoint.format import compression
from checkpoint.format.compression import FRAME, SMALL_BYTES_MAX, check_kept, packed, unpacked
from durable.core.errors import CheckpointError, CheckpointTampered, StoreError
from durable.store.sqlite.value_files import ValueFiles
from tests.s3 import new_bucket, s3_server
from tests.warm_python import PYTHON

GRACE_S = 100.0


def address(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as bucket:
        yield bucket


@pytest.fixture(params=["directory", "objects", "moved"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    if request.param == "directory":
        return DirectoryBlobs(tmp_path / "blobs")
    request.getfixturevalue("s3")
    objects = ObjectBlobs(new_bucket(), "store", grace_s=GRACE_S, lock=tmp_path / "lock")
    return objects if request.param == "objects" else Moved(objects, DirectoryBlobs(tmp_path / "former"))


def test_what_is_put_is_there_until_it_is_deleted(blobs: Blobs) -> None:
    many = {address(data): data for data in (os.urandom(1000 + n) for n in range(4 * TOGETHER_MIN + 5))}
    first, second, *_ = many
    assert not blobs.exists(first)
    assert blobs.get(first) is None
    assert blobs.get_many([first, second]) == {}
    began = time.time() - 2
    blobs.put_many(many.items())
    blobs.put_many([(first, many[first])])
    assert blobs.exists(first)
    assert blobs.get(first) == many[first]
    assert blobs.get_many([*many, address(b"")]) == many
    kept = list(blobs.list())
    assert {each.digest: each.size for each in kept} == {digest: len(data) for digest, data in many.items()}
    assert all(began < each.put_s < time.time() + 2 for each in kept)
    assert blobs.delete(first) is True
    assert blobs.delete(first) is False
    assert blobs.get(first) is None
    assert blobs.get(second) is not None


def test_an_address_is_nothing_but_an_address(blobs: Blobs) -> None:
    for bad in ("../../etc/passwd", "A" * 64, address(b"x") + "\n", ""):
        with pytest.raises(CheckpointError, match="is not a digest"):
            blobs.get(bad)
        with pytest.raises(CheckpointError, match="is not a digest"):
            blobs.put_many([(bad, b"x")])


def test_what_only_the_former_place_has_is_read_there(tmp_path: Path) -> None:
    new, former = DirectoryBlobs(tmp_path / "new"), DirectoryBlobs(tmp_path / "former")
    digests = [address(b"a"), address(b"b")]
    former.put_many([(digests[0], b"a")])
    both = Moved(new, former)
    both.put_many([(digests[1], b"b")])
    assert both.get_many(digests) == {digests[0]: b"a", digests[1]: b"b"}
    assert not former.exists(digests[1])


# -- a directory ---------------------------------------------------------------------------------------------------


def test_files_are_private_and_nothing_else_is_left(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    digest = address(b"x")
    blobs.put_many([(digest, b"x"), (digest, b"x")])
    path = tmp_path / digest[:2] / digest
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == [digest]


def test_a_directory_that_refuses_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path / "blobs")
    good, bad = b"good", b"bad"
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / address(bad)[:2]).write_bytes(b"a file where a directory should be")
    with pytest.raises(CheckpointError, match="blobs cannot be written"):
        blobs.put_many([(address(good), good), (address(bad), bad)])
    assert not list(tmp_path.glob("blobs/??/.*"))


def test_killed_while_writing_many_each_is_whole_or_absent(tmp_path: Path) -> None:
    code = """
import hashlib, sys
from pathlib import Path
from checkpoint.blobs.directory import DirectoryBlobs
blobs = DirectoryBlobs(Path(sys.argv[1]))
for n in range(100_000):
    some = [bytes([each]) * (n % 7 * 50_000 + n + 1) for each in range(20)]
    blobs.put_many((hashlib.sha256(data).hexdigest(), data) for data in some)
    print(n, flush=True)
"""
    child = subprocess.Popen([PYTHON, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip() == b"5":
            break
    child.send_signal(signal.SIGKILL)
    child.communicate()
    blobs = DirectoryBlobs(tmp_path)
    blobs.sweep()
    kept = list(blobs.list())
    assert len(kept) >= 120
    for each in kept:
        data = blobs.get(each.digest)
        assert data is not None
        assert address(data) == each.digest
    assert not list(tmp_path.glob("??/.*"))


def _put(root: Path, digest: str) -> Callable[[], None]:
    blobs = DirectoryBlobs(root)
    return lambda: blobs.put_many([(digest, b"x")])


def _look(root: Path, digest: str) -> Callable[[], None]:
    blobs = DirectoryBlobs(root)
    return lambda: check(blobs.exists(digest))


def _keep(root: Path, digest: str) -> Callable[[], None]:
    values = ValueFiles(Path(str(root.parent).removesuffix(".d")))
    return lambda: values.keep(digest, b"x")


def check(there: bool) -> None:
    assert there


@pytest.mark.parametrize("use", [_put, _look, _keep])
def test_what_a_killed_process_left_unsynced_is_durable_for_whoever_relies_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: Callable[[Path, str], Callable[[], None]]
) -> None:
    """It is there, and so are its folders: who made them may have been killed before it synced what they are in."""
    root = tmp_path / "s.db.d" / "blobs"
    digest = address(b"x")
    _put(root, digest)()
    synced: list[Path] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    again = use(root, digest)
    again()
    assert sorted(synced) == [root.parent, root, root / digest[:2]]
    synced.clear()
    again()
    assert synced == [root / digest[:2]], "the folders above it are known to be durable"


# -- an object store -----------------------------------------------------------------------------------------------


def test_a_sweep_of_objects_spares_what_is_fresh(s3: str, tmp_path: Path) -> None:
    now = time.time()
    blobs = ObjectBlobs(f"{s3}/swept/", "store", grace_s=GRACE_S, lock=tmp_path / "lock", clock=lambda: now)
    digests = [address(b"a"), address(b"b"), address(b"c")]
    blobs.put_many([(digests[0], b"a"), (digests[1], b"b")])
    assert blobs.sweep(digests) == 0
    now += GRACE_S * 0.6
    assert not blobs.exists(digests[0])  # old enough to be put again rather than relied on
    now += GRACE_S
    assert blobs.sweep(digests) == 2
    assert blobs.get_many(digests) == {}


def test_nobody_puts_while_a_sweep_decides(s3: str, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    blobs = ObjectBlobs(f"{s3}/locked", "store", grace_s=GRACE_S, lock=lock)
    putting = threading.Thread(target=lambda: blobs.put_many([(address(b"a"), b"a")]))
    import fcntl

    with lock.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        putting.start()
        putting.join(0.2)
        assert putting.is_alive()
        assert blobs.get(address(b"a")) is None
    putting.join(10)
    assert blobs.get(address(b"a")) == b"a"


def test_a_store_that_is_not_there_is_named(s3: str) -> None:
    blobs = ObjectBlobs(s3.replace("durable-", "other-"), "store", grace_s=GRACE_S)
    with pytest.raises(CheckpointError, match=r"chunks cannot be written to s3://other-.*/checkpoints/store: "):
        blobs.put_many([(address(b"a"), b"a")])
    for url in ("ftp://x", "nowhere", "s3://"):
        with pytest.raises(StoreError):
            ObjectBlobs(url, "", grace_s=GRACE_S)


# -- how a chunk is kept -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "smaller"),
    [
        (b"", False),
        (b"x" * 100, False),
        (bytes(2**20), True),
        (b"a line of text\n" * 60_000, True),
        (os.urandom(2**20), False),
        (os.urandom(2**19) + bytes(2**19), True),
        (FRAME, None),
        (FRAME + os.urandom(10_000), None),
        (packed(bytes(10_000)), None),
    ],
    ids=["empty", "short", "zeros", "text", "random", "half", "frame", "frame-and-more", "packed"],
)
def test_a_chunk_comes_back_however_it_is_kept(data: bytes, smaller: bool | None) -> None:
    kept = packed(data)
    digest = hashlib.sha256(data).digest()
    assert unpacked(kept, digest, len(data)) == data
    check_kept(kept, digest.hex())
    if smaller is not None:
        assert (len(kept) < 0.75 * len(data)) is smaller


def test_small_chunks_are_compressed_by_one_compressor(monkeypatch: pytest.MonkeyPatch) -> None:
    """And come out as from a fresh one, whatever was before them."""
    rows = [b"a line of text\n" * 60 + bytes([n]) for n in range(20)] + [bytes(SMALL_BYTES_MAX)]
    made: list[int] = []

    zstd: Any = vars(compression)["zstd"]
    kind = zstd.ZstdCompressor

    class Counted:
        FLUSH_FRAME = kind.FLUSH_FRAME

        def __new__(cls, level: int) -> Any:
            made.append(level)
            return kind(level)

    fresh = [zstd.compress(row, compression.LEVEL) for row in rows]
    monkeypatch.setattr(compression, "_kept", threading.local())
    monkeypatch.setattr(zstd, "ZstdCompressor", Counted)
    assert [bytes(packed(row))[8:] for row in rows] == fresh
    assert made == [compression.LEVEL]


def test_a_frame_gives_no_more_than_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = packed(bytes(2**26))
    assert len(bomb) < 10_000
    digest = hashlib.sha256(bytes(2**26)).digest()
    with pytest.raises(CheckpointTampered):
        unpacked(bomb, digest, 2**20)
    monkeypatch.setattr(compression, "SIZE_MAX", 2**20)
    with pytest.raises(CheckpointError, match="does not have that digest"):
        check_kept(bomb, digest.hex())


def test_any_changed_bit_of_a_kept_chunk_is_found() -> None:
    for data in (b"a line of text\n" * 60, bytes(range(256))):
        kept, digest = packed(data), hashlib.sha256(data).digest()
        for at in range(len(kept) * 8):
            other = bytearray(kept)
            other[at // 8] ^= 1 << at % 8
            with pytest.raises(CheckpointTampered):
                unpacked(bytes(other), digest, len(data))
