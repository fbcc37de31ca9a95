"""Frames of the user's own code, told apart from the engine's and the standard library's: for lines in messages."""

from __future__ import annotations

import os
import sysconfig
from functools import lru_cache
from pathlib import Path
from types import FrameType

_ROOT = Path(__file__).parents[2]
_DEMO = f"{_ROOT / 'durable' / 'demo'}{os.sep}"


@lru_cache(maxsize=1)
def _others() -> tuple[str, ...]:
    ours = [f"{_ROOT / package}{os.sep}" for package in ("durable", "capabilities", "bridge", "checkpoint")]
    paths = sysconfig.get_paths()
    return (*ours, *(f"{paths[name]}{os.sep}" for name in ("stdlib", "platstdlib", "purelib", "platlib")), "<frozen ")


def is_user_code(frame: FrameType) -> bool:
    """Whether a frame is of the user's program: neither the engine's, nor Python's, nor an installed package's."""
    file = frame.f_code.co_filename
    return not file.startswith(_others()) or file.startswith(_DEMO)


def user_place(frame: FrameType | None) -> str:
    """`file:line` of the innermost frame of the user's program at or above `frame`; of `frame` where there is none."""
    innermost = frame
    while frame is not None:
        if is_user_code(frame):
            break
        frame = frame.f_back
    shown = frame or innermost
    return "?" if shown is None else f"{Path(shown.f_code.co_filename).name}:{shown.f_lineno}"


def innermost_frame(error: BaseException) -> FrameType | None:
    """The frame in which an exception was raised."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return None if traceback is None else traceback.tb_frame
