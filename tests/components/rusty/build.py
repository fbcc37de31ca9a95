"""Make `rusty.wasm` of `lib.rs` and `world.wit`: `python tests/components/rusty/build.py`, by hand, when they change.

RUSTC: a Rust with the target wasm32-unknown-unknown (Debian: rustc, libstd-rust-dev-wasm32, lld). JCO: a directory in
which `npm install @bytecodealliance/jco` was done; it makes a component of the core module. `rusty.wasm` was made by
rustc 1.63 and jco 1.35.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
HOST = HERE.parents[2] / "capabilities" / "sandbox" / "wit" / "host.wit"
OPTIONS = "--edition 2021 --crate-type cdylib --target wasm32-unknown-unknown -C opt-level=s -C lto=fat -C panic=abort"


def build(into: Path) -> None:
    """Compile, add the types, wrap."""
    rustc, jco = shlex.split(os.environ.get("RUSTC", "rustc")), Path(os.environ["JCO"])
    with tempfile.TemporaryDirectory(dir=jco) as directory:
        place = Path(directory)
        core, script = place / "core.wasm", place / "embed.mjs"
        flags = [*OPTIONS.split(), "-C", "codegen-units=1", "-C", "strip=symbols", "--remap-path-prefix", f"{HERE}=."]
        subprocess.run([*rustc, *flags, HERE / "lib.rs", "-o", core], check=True)
        shutil.copy(HERE / "embed.mjs", script)  # where node finds what was installed
        subprocess.run(["node", script, HERE / "world.wit", HOST, core, into], check=True)
    into.with_suffix(".sources").write_text(sources() + "\n")


def sources() -> str:
    """The digest of what it is made of, to tell that it is not stale."""
    return hashlib.sha256(b"".join((HERE / name).read_bytes() for name in ("lib.rs", "world.wit"))).hexdigest()


if __name__ == "__main__":
    build(HERE / "rusty.wasm")
