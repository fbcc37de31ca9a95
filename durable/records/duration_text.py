"""Durations for people: in tables, trees and pages."""

from __future__ import annotations

_UNITS = (("d", 86_400, "h", 3_600), ("h", 3_600, "m", 60), ("m", 60, "s", 1))


def duration(seconds: float) -> str:
    """A duration in one or two units: 12 ms, 0.3 s, 4 m 10 s, 3 h 20 m, 5 d 2 h."""
    if 0 < seconds < 0.1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for unit, length, below, length_below in _UNITS:
        if whole >= length:
            return f"{whole // length} {unit} {whole % length // length_below} {below}"
    return f"{whole} s"
