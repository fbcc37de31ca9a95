"""Cases of checkpoints as text: sections that start with `## name`, code, and expectations that start with `=> `."""

from __future__ import annotations


def cases(text: str) -> dict[str, tuple[str, list[str]]]:
    """name -> (code, expectations)."""
    found = {}
    for section in text.strip().removeprefix("## ").split("\n## "):
        name, _, body = section.partition("\n")
        lines = body.split("\n")
        code = "\n".join(line for line in lines if not line.startswith("=> "))
        found[name] = (code, [line.removeprefix("=> ") for line in lines if line.startswith("=> ")])
    return found
