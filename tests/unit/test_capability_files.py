"""Files below one directory: nothing leads out of it, whatever is put there meanwhile."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from pathlib import Path

import pytest

from capabilities.standard.disk_usage import COUNTED_MS, ENTRY_BYTES, Space, count
from capabilities.standard.files import FILE_BYTES_MAX, clean, growth, listed, read, write
from durable.core.errors import Denied, ResourceExceeded

SECRET = b"secret"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(SECRET)
    found = tmp_path / "root"
    found.mkdir()
    return found


@pytest.mark.parametrize("path", ["../outside/secret", "/etc/passwd", "a/../../outside/secret", "..", "a\0b", "//etc"])
def test_paths_that_lead_out_are_denied(path: str) -> None:
    with pytest.raises(Denied):
        clean(path)


def test_clean_paths() -> None:
    assert [clean(path) for path in (".", "", "a/./b", "a//b/", "..a", "a..")] == ["", "", "a/b", "a/b", "..a", "a.."]


def test_links_are_not_followed_anywhere_on_the_way(root: Path) -> None:
    (root / "file").symlink_to(root.parent / "outside" / "secret")
    (root / "dir").symlink_to(root.parent / "outside")
    (root / "inner").mkdir()
    (root / "within").symlink_to("inner")
    for path in ("file", "dir/secret", "within/x"):
        with pytest.raises(Denied, match="is a link"):
            read(root, path)
    with pytest.raises(Denied):
        write(root, "dir/new", b"x")
    with pytest.raises(Denied):
        listed(root, "dir", recursive=True)
    assert listed(root, "", recursive=True) == ["dir", "file", "inner/", "within"]
    write(root, "file", b"mine")  # the link itself is replaced
    assert (root.parent / "outside" / "secret").read_bytes() == SECRET
    assert read(root, "file") == b"mine"
    assert sorted(os.listdir(root.parent / "outside")) == ["secret"]


def test_what_is_no_regular_file_is_refused_without_waiting(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(Denied, match="no regular file"):
        read(root, "pipe")
    with pytest.raises(IsADirectoryError):
        read(root, "")
    with pytest.raises(FileNotFoundError):
        read(root, "nothing")
    (root / "large").touch()
    os.truncate(root / "large", FILE_BYTES_MAX + 1)
    with pytest.raises(ResourceExceeded):
        read(root, "large")
    with pytest.raises(ResourceExceeded):
        write(root, "x", bytes(FILE_BYTES_MAX + 1))


def test_a_directory_that_becomes_a_link_between_check_and_use_leads_nowhere(root: Path) -> None:
    """A thread swaps `d` for a link to the outside as fast as it can: no read ever sees what is there."""
    for name in ("d", "real"):
        (root / name).mkdir()
    (root / "d" / "secret").write_bytes(b"inside")
    ended = threading.Event()

    def swap() -> None:
        while not ended.is_set():
            os.rename(root / "d", root / "aside")
            with contextlib.suppress(FileExistsError):  # a write has made the directory that it missed
                os.symlink(root.parent / "outside", root / "d")
                os.unlink(root / "d")
            while (root / "aside").exists():
                shutil.rmtree(root / "d", ignore_errors=True)
                with contextlib.suppress(OSError):  # it has made it again
                    os.rename(root / "aside", root / "d")

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        seen: set[bytes] = set()
        rounds = 0
        while rounds < 3_000 or b"inside" not in seen:  # however the threads take turns
            rounds += 1
            try:
                seen.add(read(root, "d/secret"))
                write(root, "d/written", b"x")
            except (Denied, FileNotFoundError, NotADirectoryError):  # the last: a link, and none when it was looked at
                seen.add(b"refused")
    finally:
        ended.set()
        swapping.join()
    assert b"inside" in seen
    assert SECRET not in seen
    assert os.listdir(root.parent / "outside") == ["secret"]


def test_a_file_is_written_whole_or_not_at_all(root: Path) -> None:
    write(root, "a/b/c.txt", b"one")
    write(root, "a/b/c.txt", b"two")
    assert (root / "a/b/c.txt").read_bytes() == b"two"
    assert listed(root, "a", recursive=True) == ["b/", "b/c.txt"]
    (root / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        write(root, "taken", b"x")
    assert listed(root, "", recursive=False) == ["a/", "taken/"]


def test_what_files_take_is_what_a_count_finds(root: Path) -> None:
    found = 0
    for path, size in (("a", 10), ("d/e/b", 9_000), ("d/e/b", 5_000), ("d/c", 0), ("a", 100_000), ("a", 1)):
        more = growth(root, path, size)
        write(root, path, b"x" * size)
        found += more
        assert count(root, 10**9) <= found  # directories that are there already may be reckoned with
    os.symlink(root.parent / "outside", root / "link")
    (root / "closed").mkdir(mode=0)
    assert found == 3 * ENTRY_BYTES + 5_000 + ENTRY_BYTES
    assert count(root, 10**9) == found + 2 * ENTRY_BYTES


def test_a_directory_holds_no_more_than_it_may_and_is_counted_when_that_is_asked(root: Path) -> None:
    space, limit = Space(root), 100_000

    def put(name: str, size: int, now_ms: int = 0) -> None:
        with space.taking(growth(root, name, size), limit, now_ms):
            write(root, name, b"x" * size)

    for n in range(24):  # small files count what they take
        put(f"{n}", 1)
    with pytest.raises(ResourceExceeded, match=r"files: 102400 used, 100000 allowed.*max_size_mb"):
        put("more", 1)
    put("0", 2)  # in the place of another
    (root / "1").unlink()
    put("more", 1)
    (root / "big").write_bytes(b"x" * 50_000)  # by somebody else: seen once the count is old
    for n in range(24):
        (root / f"{n}").unlink(missing_ok=True)
    put("a", 30_000)
    with pytest.raises(ResourceExceeded):
        put("b", 30_000, COUNTED_MS)
    with pytest.raises(ResourceExceeded), space.taking(ENTRY_BYTES, 0, COUNTED_MS):
        pass


def test_what_was_not_written_takes_nothing(root: Path) -> None:
    space = Space(root)
    with pytest.raises(OSError, match="no"), space.taking(90_000, 100_000, 0):
        raise OSError("no")
    with space.taking(90_000, 100_000, 0):
        pass


def test_what_is_being_written_is_reckoned_with_by_a_count(root: Path) -> None:
    space = Space(root)
    with space.taking(60_000, 100_000, 0), pytest.raises(ResourceExceeded), space.taking(60_000, 100_000, COUNTED_MS):
        pass
    with space.taking(60_000, 100_000, COUNTED_MS):
        pass
