"""Six lines of logic that stand in two places: `python -m tests.tidy.repeats`.

Logic is what functions do: declarations, signatures, docstrings and imports are left out, since two records of five
fields have one shape by nature. So are lines that only hand names over (`self.x = x`, `name=name,`, an argument on a
line of its own, rows of a dictionary). Names, strings and numbers do not tell lines apart: `shape` is what is compared.
"""

from __future__ import annotations

import ast
import io
import keyword
import re
import tokenize
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path

from tests.tidy.sources import ROOT, modules, tree

RUN = 6
"""Lines that make a repeat."""

SPAN_MAX = 3 * RUN
"""Lines of the file that a run may stretch over, with what is left out."""

HANDED_OVER = re.compile(r"(\w+ \. )?n = n.*|n = .*,?|'s' : .*|n : n.*|(n \. )*n ,")
BRACKETS = frozenset("()[]{},:")
_TOKENS = {tokenize.STRING: "'s'", tokenize.NUMBER: "0", tokenize.FSTRING_START: "f", tokenize.FSTRING_MIDDLE: "f"}


def repeats() -> Counter[tuple[str, str]]:
    """Pairs of files that share runs of logic, and how many runs."""
    runs: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for path in modules().values():
        lines = _logic(path)
        for first in range(len(lines) - RUN + 1):
            run = lines[first : first + RUN]
            if run[-1][0] - run[0][0] <= SPAN_MAX:
                runs["\n".join(shape for _, shape in run)].append((str(path.relative_to(ROOT)), first))
    found: Counter[tuple[str, str]] = Counter()
    for places in runs.values():
        for (one, here), (other, there) in combinations(places, 2):
            found[one, other] += one != other or abs(here - there) >= RUN
    return +found


def _logic(path: Path) -> list[tuple[int, str]]:
    """The lines of a file that do something: number and shape."""
    kept: set[int] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            kept |= set(range(node.body[0].lineno, (node.body[-1].end_lineno or 0) + 1))
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            kept -= set(range(node.lineno, node.body[0].lineno))
        elif isinstance(node, ast.Import | ast.ImportFrom) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            kept -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    words: defaultdict[int, list[str]] = defaultdict(list)
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.start[0] not in kept:
            continue
        if token.type == tokenize.NAME:
            words[token.start[0]].append(token.string if keyword.iskeyword(token.string) else "n")
        elif token.type == tokenize.OP:
            words[token.start[0]].append(token.string)
        elif token.type in _TOKENS:
            words[token.start[0]].append(_TOKENS[token.type])
    shapes = ((line, found, " ".join(found)) for line, found in sorted(words.items()))
    return [
        (line, shape) for line, found, shape in shapes if set(found) - BRACKETS and not HANDED_OVER.fullmatch(shape)
    ]


if __name__ == "__main__":
    for (one, other), count in sorted(repeats().items()):
        print(f"{one} ~ {other}: {count}")
