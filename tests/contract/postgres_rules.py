"""The rules of a store at rest (durable/store/upkeep/invariants.py) as PostgreSQL takes them."""

from __future__ import annotations

from durable.store.upkeep.invariants import RULES
from tests.postgres_server import rows_of

_WORDS = {
    "IS NOT CASE": "IS DISTINCT FROM CASE",
    "iif(p.outcome='lost', 'lost', 'failed')": "CASE WHEN p.outcome='lost' THEN 'lost' ELSE 'failed' END",
    "json_valid(p.tags) AND json_extract(p.tags, '$.\"resonate:target\"')": "(p.tags::json ->> 'resonate:target')",
    "c.settled <> (": "(c.settled <> 0) <> (",
    ") WHERE start<>before": ") chunks WHERE start<>before",
}
_FILE_ONLY = {"what is kept as JSON is JSON"}
"""Asks for a function that PostgreSQL has from version 16 on."""


def broken(url: str) -> list[str]:
    """Every rule that does not hold in the store at a URL, with the first rows that break it."""
    found = []
    for rule, sql in RULES.items():
        if rule in _FILE_ONLY:
            continue
        for word, own in _WORDS.items():
            sql = sql.replace(word, own)
        found += [f"{rule}: {row[0]}" for row in rows_of(url, f"SELECT * FROM ({sql}) broken LIMIT 20")]
    return found
