"""The command line. Everything heavy is imported by the command that needs it (specs/cli.md)."""

from __future__ import annotations


def main() -> None:
    """The console script `durable`; ends the process with the command's exit code."""
    from durable.cli.command_group import run

    raise SystemExit(run())
