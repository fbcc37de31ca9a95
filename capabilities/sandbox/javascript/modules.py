"""ES modules that are no JavaScript: JSON, text, bytes. The engine reads import attributes (`with { type: "json" }`)
and tells its host nothing of them, so they are looked for in the source of whoever imports.
"""

from __future__ import annotations

import base64
import json
import re

type Source = str | bytes
"""The source of a module: text, or the bytes that it is."""

KINDS = ("json", "text", "bytes")
_TEXTS = (".txt", ".md", ".csv")
_SCRIPTS = (".js", ".mjs", ".json", *_TEXTS)
_ATTRIBUTE = re.compile(r"""(['"]?)([A-Za-z_$][\w$]*)\1\s*:\s*(['"])([^'"]*)\3""")
_MARKED = re.compile(r"(.*) \(([^()]*)\)\Z", re.DOTALL)


def asked_kind(source: str, named: str) -> str:
    """The kind that an import of `named` in this source says: "" for none. An unknown one is given as it is, for
    `as_module` to refuse.
    """
    if "with" not in source:
        return ""
    quoted = rf"""(['"`]){re.escape(named)}\1"""
    forms = (rf"{quoted}\s*with\s*\{{([^}}]*)\}}", rf"""{quoted}\s*,\s*\{{\s*['"]?with['"]?\s*:\s*\{{([^}}]*)\}}""")
    attributes = {
        (key, value)
        for form in forms
        for found in re.finditer(form, source)
        for _, key, _, value in _ATTRIBUTE.findall(found[2])
    }
    kinds = sorted(value if key == "type" else f"{key}: {value}" for key, value in attributes)
    return " and ".join(kinds)


def parted(called: str) -> tuple[str, str]:
    """A module's name, and what it was imported as, of the name that the engine has for both."""
    found = _MARKED.match(called)
    return (found[1], found[2]) if found else (called, "")


def as_module(name: str, source: Source, kind: str) -> str:
    """JavaScript that has it as its default export, or that it is. Without a kind its name says what it is, and bytes
    of no known name are bytes. ValueError: it is not of that kind, or there is none such.
    """
    if not kind:
        kind = "json" if name.endswith(".json") else "text" if name.endswith(_TEXTS) else ""
        if not kind and isinstance(source, str):
            return source
        kind = kind or ("source" if name.endswith(_SCRIPTS) else "bytes")
    elif kind not in KINDS:
        raise ValueError(
            f"{name} is imported as {kind}: a type may be {', '.join(KINDS)}, and there is no other attribute"
        )
    if kind == "bytes":
        raw = source if isinstance(source, bytes) else source.encode("utf-8", "surrogatepass")
        text = base64.b64encode(raw).decode()
        return f"export default Uint8Array.from(atob({json.dumps(text)}), (each) => each.charCodeAt(0));"
    text = source if isinstance(source, str) else source.decode("utf-8", "replace")
    if kind == "json":
        try:
            json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{name} is no JSON: {error}") from None
        return f"export default JSON.parse({json.dumps(text)});"
    return text if kind == "source" else f"export default {json.dumps(text)};"
