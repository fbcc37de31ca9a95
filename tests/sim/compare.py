"""A run that was killed compared with the one that was not: everything that anybody can see."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from .journal import Told

_KEY = re.compile(r"\b[0-9a-f]{32}\b")


def differences(undisturbed: Told, killed: Told) -> list[str]:
    """Where the second run differs from the first, in words; empty when it does nowhere."""
    return [
        *_repeated(killed),
        *_keys(killed),
        *_outcome(undisturbed, killed),
        *_effects(undisturbed, killed),
        *_logs(undisturbed, killed),
        *_readers(killed),
        *_streams(undisturbed, killed),
    ]


def unsound(undisturbed: Told) -> list[str]:
    """What a run without any kill did that no run may do."""
    outcome = undisturbed.outcome()
    found = [*_repeated(undisturbed), *_keys(undisturbed), *_readers(undisturbed)]
    wanted = ("cancelled",) if undisturbed.cancelled() is not None else ("completed", "failed")
    if outcome is None or outcome["state"] not in wanted:
        found.append(f"without any kill the function came to {outcome}")
    return found


def _repeated(told: Told) -> Iterator[str]:
    """Effects that happened again although they were recorded: only the last one before a kill may not have been."""
    seen: dict[str, int] = {}
    last: dict[int, str] = {}
    idle = {line["life"] for line in told.of("idle")}
    for line in told.of("effect"):
        tag, life = line["tag"], line["life"]
        if tag in seen and (seen[tag] == life or last[seen[tag]] != tag or seen[tag] in idle):
            yield f"step {tag} was performed again in life {life} although life {seen[tag]} had recorded it"
        seen[tag] = life
        last[life] = tag


def _keys(told: Told) -> Iterator[str]:
    """A key that was made is used wherever it is used; one that was made before a kill may be used nowhere."""
    for tag, used in _used(told).items():
        if len(used) > 1:
            yield f"two keys of {tag} were used: {sorted(used)}"


def _made(told: Told) -> dict[str, str]:
    return {line["value"]: line["tag"] for line in told.of("effect") if line["name"] == "key"}


def _used(told: Told) -> dict[str, set[str]]:
    made = _made(told)
    used: dict[str, set[str]] = defaultdict(set)
    others = [line for line in told.lines if line.get("name") != "key"]
    for key in _KEY.findall(json.dumps(others)):
        if key in made:
            used[made[key]].add(key)
    return used


def _named(told: Told, value: Any) -> Any:
    """The value with each key replaced by the step that made it."""
    made = _made(told)
    text = _KEY.sub(lambda found: f"<key of {made.get(found[0], 'nobody')}>", json.dumps(value))
    return json.loads(text)


def _outcome(undisturbed: Told, killed: Told) -> Iterator[str]:
    wanted, found = _named(undisturbed, undisturbed.outcome()), _named(killed, killed.outcome())
    if wanted != found:
        yield f"outcome\n    undisturbed {wanted}\n    killed      {found}"


def _by_tag(told: Told) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for line in told.of("effect"):
        content = _named(told, [line["name"], line["arguments"], line["value"]])
        if content not in found[line["tag"]]:
            found[line["tag"]].append(content)
    return found


def _left(*runs: Told) -> re.Pattern[str]:
    """Matches what belongs to nested functions whose caller ended without them: how far those got is open (R6)."""
    left: set[str] = set()
    for told in runs:
        ended = {line["path"] for line in told.of("ended")}
        tags = [line["tag"] for line in told.of("effect")] + [str(line["text"]) for line in told.of("log")]
        left.update(path for tag in tags for path in _nested(tag) if path not in ended)
    return re.compile("|".join(f"{re.escape(path)}(?![0-9])" for path in sorted(left)) or r"(?!)")


def _nested(tag: str) -> Iterator[str]:
    """The nested functions that a tag or a line of the log is inside of: `m/n10.0` and `m/n10.0/n7.1` of
    `m/n10.0/n7.1/s3`."""
    for path in _PATH.findall(tag):
        for place in _NESTED.finditer(path):
            yield path[: place.end()]


_PATH = re.compile(r"\bm(?:/[a-z]+[0-9.]+)+")
_NESTED = re.compile(r"/n[0-9]+\.[0-9]+")


def _effects(undisturbed: Told, killed: Told) -> Iterator[str]:
    wanted, found = _by_tag(undisturbed), _by_tag(killed)
    left = _left(undisturbed, killed)
    for tag in sorted(wanted.keys() | found.keys()):
        if left.search(tag):
            continue
        if tag not in found:
            yield f"step {tag} was not performed"
        elif tag not in wanted:
            yield f"step {tag} was performed, and is not in the undisturbed run"
        elif wanted[tag] != found[tag]:
            yield f"step {tag} did {found[tag]}, undisturbed {wanted[tag]}"


def _readers(told: Told) -> Iterator[str]:
    """A reader that goes on behind what it got, through all lives, has in the end what is in the streams.

    Nothing came twice, nothing is lost, but what steps took back.
    """
    stored = told.of("streams")
    if not stored:
        return
    got: dict[str, list[Any]] = defaultdict(list)
    for line in told.of("read"):
        items, place = got[line["stream"]], (line["step"], line["position"])
        if items and items[-1][1] >= line["offset"]:
            yield f"item {line['offset']} of stream {line['stream']} was read twice"
        if place[0] is not None:
            items[:] = [each for each in items if each[3] != place[0] or each[4] < place[1]]
        items.append([line["stream"], line["offset"], line["value"], *place])
    wanted = [item[:5] for item in stored[-1]["items"]]
    found = [item for _, items in sorted(got.items()) for item in items]
    if found != wanted:
        yield f"a reader got\n    {found}\n    and the streams hold\n    {wanted}"


def _streams(undisturbed: Told, killed: Told) -> Iterator[str]:
    """The streams hold the same values, those of each function and step in the same order, but for what a step makes
    anew; so do the keys. What a nested function and its caller do side by side has no common order (R6)."""
    ends = [told.of("streams")[-1:] for told in (undisturbed, killed)]
    wanted, found = (
        [
            (
                line["published"],
                sorted((item[0], item[5], n, json.dumps(_known(item[2]))) for n, item in _of_writers(line["items"])),
            )
            for line in lines
        ]
        for lines in ends
    )
    if wanted != found:
        yield f"streams\n    undisturbed {wanted}\n    killed      {found}"


def _of_writers(items: list[Any]) -> Iterator[tuple[int, Any]]:
    """The items, each with its number among those of its function or step in the stream."""
    seen: dict[tuple[str, str], int] = defaultdict(int)
    for item in items:
        seen[item[0], item[5]] += 1
        yield seen[item[0], item[5]], item


def _known(value: Any) -> Any:
    return "own" if isinstance(value, list) and value[:1] == ["own"] else value


def log_of(told: Told) -> list[tuple[str, int, str]]:
    """Lines of the log in order, each number of a context once."""
    lines: dict[tuple[str, int], str] = {}
    for line in told.of("log"):
        lines.setdefault((line["context"], line["number"]), _named(told, line["text"]))
    return [(context, number, text) for (context, number), text in lines.items()]


def _logs(undisturbed: Told, killed: Told) -> Iterator[str]:
    first: dict[tuple[str, int], dict[str, Any]] = {}
    for line in killed.of("log"):
        earlier = first.setdefault((line["context"], line["number"]), line)
        if earlier["text"] != line["text"]:
            yield (
                f"line {line['number']} of {line['context']} was {earlier['text']!r} in life {earlier['life']}"
                f" and is {line['text']!r} in life {line['life']}"
            )
            return
    left = _left(undisturbed, killed)
    wanted, found = ([line for line in log_of(told) if not left.search(str(line[2]))] for told in (undisturbed, killed))
    if wanted != found:
        at = next((n for n, pair in enumerate(zip(wanted, found, strict=False)) if pair[0] != pair[1]), None)
        at = min(len(wanted), len(found)) if at is None else at
        yield f"log from line {at}\n    undisturbed {wanted[at : at + 3]}\n    killed      {found[at : at + 3]}"
