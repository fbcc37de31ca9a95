"""A disk that is full: the first output says what to do, and the cell goes on when there is room."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from durable.integrations.jupyter.kernelspec import kernelspec
from tests.jupyter.front_end import FrontEnd


@dataclass
class SmallDisk:
    """A file system of a few megabytes that only processes in its mount namespace see: kernels, not this test."""

    place: Path
    holder: int

    @property
    def _fill(self) -> Path:
        return Path(f"/proc/{self.holder}/root{self.place}/fill")

    def fill(self) -> None:
        """Leave no byte."""
        with self._fill.open("wb", buffering=0) as file:
            for size in (65_536, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue

    def free(self) -> None:
        self._fill.unlink()


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallDisk]:
    """The disk of the store of the kernel `small`."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("needs to mount a small file system: root and unshare")
    place = tmp_path / "disk"
    place.mkdir()
    script = f"mount -t tmpfs -o size=12m tmpfs {place} && echo mounted && exec sleep infinity"
    with subprocess.Popen(["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"mounted\n"
        spec = kernelspec(None, None, "small")
        inside = f'exec nsenter -t {holder.pid} -m --wd="$PWD" -- "$@"'
        spec["argv"] = ["sh", "-c", inside, "sh", *spec["argv"]]
        kernel = Path(os.environ["JUPYTER_DATA_DIR"]) / "kernels" / "small"
        kernel.mkdir(parents=True, exist_ok=True)
        (kernel / "kernel.json").write_text(json.dumps(spec))
        monkeypatch.setenv("DURABLE_STORE", str(place / "state.db"))
        yield SmallDisk(place, holder.pid)
        holder.kill()


def is_notice(message: dict[str, Any]) -> bool:
    return message["msg_type"] == "display_data" and message["content"]["metadata"].get("durable") == "notice"


def kind(name: str) -> Callable[[dict[str, Any]], bool]:
    return lambda message: message["msg_type"] == name


def reply_to(page: FrontEnd, cell: str) -> dict[str, Any]:
    while True:
        reply = page.client.get_shell_msg(timeout=60)
        if reply["parent_header"]["msg_id"] == cell:
            return dict(reply["content"])


def test_a_cell_waits_for_room_and_goes_on(disk: SmallDisk, tmp_path: Path) -> None:
    with FrontEnd(tmp_path, "full.ipynb", kernel="small") as page:
        page.run("import random\nruns = []")
        disk.fill()
        cell = page.submit("runs.append(1)\nprint('x' * 2_000_000)\nbig = random.randbytes(3_000_000)\nlen(big)")
        values: list[str] = []

        def noticed(message: dict[str, Any]) -> bool:
            if kind("execute_result")(message):  # before it is recorded
                values.append(message["content"]["data"]["text/plain"])
            return is_notice(message)

        told = page.until(noticed)["content"]["data"]["text/plain"]
        assert "free some disk space" in told
        assert "goes on by itself" in told
        disk.free()
        if not values:
            values.append(page.until(kind("execute_result"))["content"]["data"]["text/plain"])
        assert values == ["3000000"]
        assert reply_to(page, cell)["status"] == "ok"
        page.kill()
        disk.fill()
        page.again()  # on a disk that is full
        ran = page.run("len(big), runs")
        if ran.reply["status"] == "error":
            assert ran.reply["ename"] == "StoreFull"
            assert "free some disk space" in ran.reply["evalue"]
        disk.free()
        assert page.run("len(big), runs").value == "(3000000, [1])"


def test_a_cell_that_nobody_waits_for_ends_without_being_saved(disk: SmallDisk, tmp_path: Path) -> None:
    with FrontEnd(tmp_path, "left.ipynb", kernel="small") as page:
        page.run("import random")
        disk.fill()
        cell = page.submit("big = random.randbytes(3_000_000)")
        page.until(is_notice)
        page.manager.interrupt_kernel()
        page.manager.interrupt_kernel()
        left = reply_to(page, cell)
        said = left.get("evalue") or page.until(kind("stream"))["content"]["text"]
        assert "free some disk space" in said
        disk.free()
        assert page.run("len(big)").value == "3000000"
        page.kill()
        page.again()
        assert page.run("len(big)").value == "3000000"
