"""The common parts of every page: its frame, its style, its headers. No scripts, nothing that is loaded."""

from __future__ import annotations

import base64
import hashlib
from html import escape

_STYLE = (
    ":root{color-scheme:light dark}*{box-sizing:border-box}"
    "body{font:1.0625rem/1.5 system-ui,sans-serif;max-width:38rem;margin:0 auto;padding:1.25rem 1rem 3rem}"
    "h1{font-size:1.5rem;line-height:1.25;margin:.25rem 0 1rem;overflow-wrap:anywhere}"
    ".title,small{opacity:.75}.title{margin:0}small{display:block;overflow-wrap:anywhere}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#8882;border-radius:.5rem;padding:.75rem 1rem}"
    "label,fieldset{display:block;margin:1.25rem 0 0}fieldset{border:0;padding:0}"
    "input,textarea,select,button{font:inherit;min-height:3rem;border:1px solid #888;border-radius:.5rem}"
    "input,textarea,select{display:block;width:100%;margin-top:.25rem;padding:.6rem .75rem}"
    ".json{font-family:ui-monospace,monospace;font-size:.9em}"
    "fieldset label{display:flex;align-items:center;gap:.75rem;min-height:3rem;margin:.5rem 0 0;padding:.5rem .75rem;"
    "border:1px solid #888;border-radius:.5rem;overflow-wrap:anywhere}"
    "fieldset input{flex:none;width:1.25rem;min-height:0;height:1.25rem;margin:0}"
    "button{display:block;width:100%;margin:.75rem 0 0;padding:.6rem;cursor:pointer;background:#8882;color:inherit}"
    ".first{margin-top:2rem;background:#1a56c4;border-color:#1a56c4;color:#fff}[hidden]{display:none}"
    ".field-error{display:block;color:#c22;font-weight:600}"
    "@media (prefers-color-scheme:dark){.field-error{color:#ff8f85}}"
    "[aria-invalid=true]{border-color:#c22}.markdown{overflow-wrap:anywhere}.markdown table{border-collapse:collapse}"
    ".markdown td,.markdown th{border:1px solid #888;padding:.2rem .5rem}"
    ".wrong{border-left:.25rem solid #c22;padding:.25rem .75rem;margin:1rem 0}.wrong p{margin:0;overflow-wrap:anywhere}"
    ":focus-visible{outline:.2rem solid #4a8dff;outline-offset:.1rem}"
)

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; style-src 'sha256-"
        + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
        + "'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
    "x-robots-tag": "noindex",
}
"""Of every page: nothing runs, nothing is loaded, no other page shows it, and its address, the link, stays here."""


def said_page(title: str, text: str) -> str:
    """A page that says something."""
    return page_of(title, f"<h1>{escape(title)}</h1><p>{escape(text)}</p>")


def label_of(text: str, hint: str, control: str) -> str:
    """A control and what it is for."""
    return f"<label>{escape(text)} {f'<small>{escape(hint)}</small>' if hint else ''}{control}</label>"


def page_of(title: str, body: str) -> str:
    """A page with that in it, which is markup."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title[:200])}</title><style>{_STYLE}</style></head><body><main>{body}</main></body></html>"
    )
