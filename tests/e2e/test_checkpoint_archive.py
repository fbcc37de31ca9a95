"""A checkpoint as one file: exported, damaged, imported into its own store and into another's."""

from __future__ import annotations

from pathlib import Path

import pytest

import durable
from checkpoint.engine_side.seal import open_sealed
from checkpoint.format import archive
from durable.core.errors import CheckpointError, CheckpointTampered
from tests.e2e.cli_process import Terminal

MAKE = "import numpy as np\nx = [1]; big = np.arange(300_000.0); text = 'a line ' * 50_000\ndef f(): return x"


async def test_a_file_makes_a_session_in_its_own_store_and_where_it_is_trusted(tmp_path: Path) -> None:
    file = tmp_path / "desk.ckpt"
    async with durable.open(tmp_path / "one.db") as engine:
        session = await engine.session("desk", grants=["now"])
        await session.execute(MAKE)
        await session.checkpoint("first")
        await session.execute("x.append(2)")
        written = await session.export("first", file)
        assert (written.path, written.size) == (file, file.stat().st_size)
        assert file.stat().st_mode & 0o777 == 0o600
        assert [path.name for path in tmp_path.glob("*.ckpt*")] == ["desk.ckpt"]
        with pytest.raises(CheckpointError, match="exists"):
            await session.export("first", file)
        again = await engine.import_checkpoint(file, "again")
        assert again.grants == ("input", "now")
        assert (await again.execute("[f(), float(big[-1]), len(text), now() > 0]")).value == [
            [1], 299_999.0, 350_000, True,
        ]  # fmt: skip
        assert "first" in [info.label for info in await again.checkpoints()]
        with pytest.raises(durable.Conflict, match="exists"):
            await engine.import_checkpoint(file)
    async with durable.open(tmp_path / "two.db") as engine:
        with pytest.raises(CheckpointTampered, match=f"the key {written.key}, this one has .* `--trust`"):
            await engine.import_checkpoint(file)
        with pytest.raises(durable.NotFound):
            await engine.checkpoints_of("desk").listing()
        session = await engine.import_checkpoint(file, trust=True)
        assert session.name == "desk"
        await session.execute("x.append(3)")
    async with durable.open(tmp_path / "two.db") as engine:
        session = await engine.session("desk")
        assert (await session.execute("f()")).value == [1, 3]


async def test_any_changed_bit_of_a_file_is_found(tmp_path: Path) -> None:
    file, other = tmp_path / "desk.ckpt", tmp_path / "other.ckpt"
    async with durable.open(tmp_path / "work.db") as engine:
        session = await engine.session("desk")
        await session.execute("x = 1")
        await session.export(await session.checkpoint("only"), file)
        data = file.read_bytes()
        for at in range(len(data)):
            other.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
            with pytest.raises(CheckpointTampered):
                archive.read(other)
        for cut in (0, 4, 40, len(data) // 2, len(data) - 1):
            other.write_bytes(data[:cut])
            with pytest.raises(CheckpointTampered):
                await engine.import_checkpoint(other, "other")
        with pytest.raises(durable.NotFound):
            await engine.checkpoints_of("other").listing()


async def test_a_file_that_somebody_made_is_refused_by_what_it_holds(tmp_path: Path) -> None:
    """Whole as it was written, but written by somebody without the key, or by a later version."""
    file = tmp_path / "desk.ckpt"
    async with durable.open(tmp_path / "work.db") as engine:
        session = await engine.session("desk")
        await session.execute("x = 1; text = 'a line ' * 5_000")
        await session.export(await session.checkpoint("only"), file)
        head, chunks = archive.read(file)
        store = engine.store
        assert open_sealed(head.manifest, lambda _: chunks, store.key, profile="open")

        async def refused(
            name: str, made: archive.ArchiveHead, pieces: list[bytes], error: str, *, trust: bool
        ) -> None:
            archive.write(tmp_path / name, made, pieces)
            with pytest.raises(CheckpointError, match=error):
                await engine.import_checkpoint(tmp_path / name, name, trust=trust)
            with pytest.raises(durable.NotFound):
                await engine.checkpoints_of(name).listing()

        fields = {name: getattr(head, name) for name in head.__struct_fields__}
        kept = list(chunks.values())
        flipped = bytearray(head.manifest)
        flipped[-1] ^= 1
        await refused(
            "changed", archive.ArchiveHead(**{**fields, "manifest": bytes(flipped)}), kept, "signature", trust=True
        )
        await refused("newer", archive.ArchiveHead(**{**fields, "format": "9"}), kept, "has format '9'", trust=True)
        fewer = archive.ArchiveHead(**{**fields, "chunks": head.chunks[:-1]})
        await refused("fewer", fewer, kept[:-1], "is missing", trust=True)
        others = [bytes([piece[0] ^ 1]) + piece[1:] for piece in kept]
        await refused("others", head, others, "was changed", trust=True)
        foreign = archive.ArchiveHead(**{**fields, "key": "0" * 16, "manifest": bytes(flipped)})
        await refused("foreign", foreign, kept, "exported by a store", trust=False)
        await refused(
            "none", archive.ArchiveHead(**{**fields, "manifest": b"x" * 50, "key": ""}), kept, "not a", trust=True
        )


async def test_the_command_line(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    async with durable.open(tmp_path / ".durable" / "state.db") as engine:
        session = await engine.session("desk")
        await session.execute("a = 1")
        await session.execute("a = 2")
        first, second = [info.id for info in await session.checkpoints()]
    assert terminal.durable("checkpoint", "label", "desk", str(first), "good", "--json").data["label"] == "good"
    written = terminal.durable("checkpoint", "export", "desk", "good", "desk.ckpt", "--json").data
    assert written["bytes"] == (tmp_path / "desk.ckpt").stat().st_size
    assert terminal.durable("checkpoint", "drop", "desk", "good").code == 0
    made = terminal.durable("checkpoint", "import", "desk.ckpt", "copy", "--trust", "--store", "other.db", "--json")
    assert made.data == {"session": "copy", "grants": ["input"]}
    async with durable.open(tmp_path / "other.db") as engine:
        assert (await (await engine.session("copy")).execute("a")).value == 1
    async with durable.open(tmp_path / ".durable" / "state.db") as engine:
        assert [info.id for info in await engine.checkpoints_of("desk").listing()] == [second]
