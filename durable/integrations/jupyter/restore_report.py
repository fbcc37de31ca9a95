"""The report to a notebook after a restore: what is back, rebuilt, lost and why, and which cell goes on. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from durable.core.events import SessionRestored

NAMES_MAX = 30
"""Names that a report has by kind; the rest are counted."""


def report_of(restored: SessionRestored, cut: Sequence[str] = ()) -> str:
    """The text. `cut` are the cells that were cut and go on, as their first lines."""
    count = restored.restored
    lines = [f"Restored: {count} variable{'' if count == 1 else 's'} as the last cell left them."]
    rebuilt = [f"{name} ({how})" for name, how in restored.rebuilt]
    if rebuilt:
        lines.append(f"Made anew: {_listed(rebuilt)}.")
    reasons = [*restored.reasons, *[""] * len(restored.lost)]
    lost = [f"{name}: {reason}" if reason else name for name, reason in zip(restored.lost, reasons, strict=False)]
    if lost:
        lines.append("Lost; run the cells that make them again:")
        lines += [f"  {one}" for one in lost[:NAMES_MAX]]
        lines += [f"  and {len(lost) - NAMES_MAX} more: `%durable lost`"] if len(lost) > NAMES_MAX else []
    lines += [f"This cell was cut and goes on where it was: {code}" for code in cut]
    return "\n".join(lines) + "\n"


def first_line(code: str, chars: int = 80) -> str:
    """The first line of code, shortened."""
    line = next((line for line in code.splitlines() if line.strip()), "")
    return line if len(line) <= chars else f"{line[: chars - 1]}…"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES_MAX])
    return shown if len(names) <= NAMES_MAX else f"{shown} and {len(names) - NAMES_MAX} more"
