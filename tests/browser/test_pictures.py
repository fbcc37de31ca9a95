"""The pictures of the documentation are made by real pages, and stay small (tests/browser/pictures.py)."""

from __future__ import annotations

import re
from pathlib import Path

from tests.browser.pictures import PAGES, PICTURE_BYTES_MAX, make

DOCS = Path(__file__).parents[2] / "docs"


async def test_the_documentation_has_the_pictures_that_are_made(tmp_path: Path) -> None:
    made = await make(tmp_path)
    assert [path.name for path in made] == list(PAGES)
    for path in made:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert 5_000 < path.stat().st_size < PICTURE_BYTES_MAX
        assert (DOCS / "pictures" / path.name).stat().st_size < PICTURE_BYTES_MAX
    shown = re.findall(r"pictures/(dashboard-[a-z]+\.png)", (DOCS / "dashboard.md").read_text())
    assert sorted(shown) == sorted(PAGES)
