"""Markdown of questions and displays as markup that does nothing: no HTML of its own, no images, links that are links.

markdown-it escapes the HTML that it finds in a text and takes no link with a scheme that runs something; what is left
are the elements that it makes itself (specs/dashboard.md, V3).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

MARKDOWN_CHARS_MAX = 100_000
"""Of one text; a longer one is shown as it is written, since nobody reads that much of a page."""

_SCHEMES = re.compile(r"(https?|mailto):", re.IGNORECASE)


@lru_cache(maxsize=1)
def _reader() -> MarkdownIt:
    from markdown_it import MarkdownIt

    found = MarkdownIt("commonmark", {"html": False, "linkify": False, "maxNesting": 20}).enable(["table"])
    found.disable(["image"])
    found.add_render_rule("link_open", _link_open)
    found.validateLink = lambda url: _SCHEMES.match(url) is not None  # type: ignore[method-assign]
    return found


def _link_open(renderer: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    """A link says to the other site nothing of this page, and opens beside it."""
    tokens[index].attrSet("rel", "noopener noreferrer nofollow")
    tokens[index].attrSet("target", "_blank")
    return str(renderer.renderToken(tokens, index, options, env))


def markdown_block(text: str) -> str:
    """A text of several paragraphs, as markup."""
    from html import escape

    if len(text) > MARKDOWN_CHARS_MAX:
        return f"<pre>{escape(text)}</pre>"
    return str(_reader().render(text))


def markdown_line(text: str) -> str:
    """A text of one paragraph, as markup."""
    return str(_reader().renderInline(text[:MARKDOWN_CHARS_MAX]))
