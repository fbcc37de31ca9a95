"""`python -m capabilities.sandbox.wit [--check]`: check `host.wit` and make its bindings, or say they are stale."""

from __future__ import annotations

import sys

from capabilities.sandbox.wit.bind import BINDINGS, SOURCE, bindings, current
from capabilities.sandbox.wit.parse import BadWit


def main(arguments: list[str]) -> int:
    """0, or 1 for a source that is wrong and for bindings that are not of it."""
    try:
        if "--check" in arguments:
            if current():
                return 0
            print(f"{BINDINGS.name} is stale: run `python -m capabilities.sandbox.wit`", file=sys.stderr)
            return 1
        BINDINGS.write_text(bindings(SOURCE.read_text()))
    except BadWit as wrong:
        print(f"{SOURCE.name}: {wrong}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
