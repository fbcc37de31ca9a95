"""`durable replay` as a process: which open executions go on with the code that is in the file by now."""

from __future__ import annotations

from pathlib import Path

from .cli_process import Terminal, read_errors_until

FIRST = """
import durable

async def act(name: str) -> str:
    return name

@durable.function
async def job(ctx: durable.Context) -> list:
    out = [await ctx.run(act, "one")]
    await ctx.signal("go")
    return out
"""
PATCHED = FIRST.replace(
    '    await ctx.signal("go")\n',
    '    if ctx.patched("more"):\n        out.append(await ctx.run(act, "more"))\n    await ctx.signal("go")\n',
)
CHANGED = FIRST.replace('"one")]', '"two")]')
SECOND = FIRST.replace("@durable.function", "@durable.function(version=2)").replace(
    "return out", 'return [*out, "as 2"]'
)


def test_checks_from_the_shell(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.write("jobs.py", FIRST)
    with terminal.running("run", "jobs.py::job", "--id", "one") as process:
        read_errors_until(process, "waits for the signal 'go'")
        process.kill()
    good = terminal.durable("replay", "check", "--json")
    assert (good.code, good.data) == (
        0,
        [
            {
                "id": "one",
                "function": "jobs.py::job@1",
                "verdict": "replays",
                "reason": "",
                "old_patches": [],
                "ok": True,
            }
        ],
    )
    terminal.write("jobs.py", PATCHED)
    assert terminal.durable("replay", "check", "one", "--json").data[0]["old_patches"] == ["more"]
    terminal.write("jobs.py", CHANGED)
    bad = terminal.durable("replay", "check", "one")
    assert bad.code == 1
    assert "differs" in bad.out
    assert "the record says step 'act'" in bad.out
    terminal.durable("replay", "check", "other").failed(3, "other")
    terminal.write("jobs.py", FIRST + SECOND.replace("import durable", ""))
    moved = terminal.durable("replay", "upgrade", "jobs.py::job@1", "jobs.py::job@2", "--with", "jobs.py", "--json")
    assert (moved.code, moved.data[0]["function"]) == (0, "jobs.py::job@2")
    assert terminal.durable("signal", "one", "go").code == 0
    assert terminal.durable("resume", "one", "--json").data == ["one", "as 2"]
    assert terminal.durable("replay", "check", "--json").data == []


def test_a_document_from_the_shell_goes_on_in_another_store(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.write("jobs.py", FIRST)
    with terminal.running("run", "jobs.py::job", "--id", "one") as process:
        read_errors_until(process, "waits for the signal 'go'")
        process.kill()
    assert terminal.durable("export", "one", "--out", "one.json").code == 0
    terminal.durable("export", "one", "--out", "one.json").failed(2, "cannot be written")
    terminal.durable("export", "other").failed(3, "other")
    assert terminal.durable("export", "one", "--json").data["metadata"]["state"] == "waiting"
    assert terminal.durable("--store", "there.db", "import", "one.json").out == "one\n"
    assert terminal.durable("--store", "there.db", "signal", "one", "go").code == 0
    assert terminal.durable("--store", "there.db", "resume", "one", "--json").data == ["one"]
