"""Files below one directory: nothing leads out of it, whatever is put there meanwhile."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from pathlib import Path

import pytest

from capabilities.files import FILE_BYTES_MAX, clean, listed, read, write
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
