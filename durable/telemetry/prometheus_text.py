"""Prometheus' text format, version 0.0.4: a help, a type and samples for each metric.

Written here and not by a client library: the figures are read from the store at each scrape, so nothing is registered,
and a server needs no package for it. A parser of that library reads it back in the tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Metric:
    """A metric and its samples: labels and a number each."""

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    samples: list[tuple[Mapping[str, str], float]] = field(default_factory=list)

    def add(self, value: float, **labels: str) -> Metric:
        """One more sample."""
        self.samples.append((labels, value))
        return self

    def lines(self) -> Iterable[str]:
        yield f"# HELP {self.name} {_escaped(self.help)}"
        yield f"# TYPE {self.name} {self.kind}"
        for labels, value in self.samples:
            shown = ",".join(f'{name}="{_quoted(text)}"' for name, text in labels.items())
            yield f"{self.name}{{{shown}}} {_number(value)}" if shown else f"{self.name} {_number(value)}"


def text_of(metrics: Iterable[Metric]) -> str:
    """The page that is scraped; metrics without a sample are left out."""
    return "".join(f"{line}\n" for metric in metrics if metric.samples for line in metric.lines())


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    clean = text.encode("utf-8", "replace").decode()  # a lone surrogate, which no text on the wire has
    return _escaped(clean).replace('"', r"\"")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
