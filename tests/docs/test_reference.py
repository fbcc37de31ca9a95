"""The documentation names the public names, commands and errors that there are, all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import durable
from docs_tools import api_reference, cli_reference
from durable.cli.command_group import root
from durable.cli.exit_codes import code_of
from tests.docs.blocks import PAGES, ROOT, name_of

DOCS = ROOT / "docs"
GENERATED = {"reference/api.md", "reference/cli.md"}


def commands() -> Iterator[tuple[str, click.Command]]:
    """All commands by what is typed after `durable`, groups too."""
    context = click.Context(root, info_name="durable")
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", each) for inner, each in command.commands.items())


def test_every_public_name_has_one_entry_in_the_reference() -> None:
    found = [name for names in api_reference.groups().values() for name in names]
    assert sorted(found) == sorted(durable.__all__)
    entries = re.findall(r"^::: durable\.(\w+)$", api_reference.page(), re.MULTILINE)
    assert sorted(entries) == sorted(durable.__all__)


def test_every_command_has_a_section_with_its_options() -> None:
    page = cli_reference.page()
    for name, command in commands():
        heading = re.search(rf"^##+ durable {name}$\n(?P<text>(?:(?!^##).*\n)*)", page, re.MULTILINE)
        assert heading, name
        own = [each for each in command.params if each.name not in cli_reference.COMMON]
        for option in (each for each in own if isinstance(each, click.Option) and not each.hidden):
            assert option.opts[0] in heading["text"], (name, option.opts)


def test_every_error_is_explained_once_with_the_exit_code_that_it_has() -> None:
    row = re.compile(r"^\| `(\w+)` \| .+ \| .* \| (\d+) \|$", re.MULTILINE)
    explained = row.findall((DOCS / "errors.md").read_text())
    assert sorted(name for name, _ in explained) == sorted(filter(api_reference.is_error, durable.__all__))
    for name, code in explained:
        kind = getattr(durable, name)
        error = (OSError if issubclass(kind, OSError) else Exception).__new__(kind)
        if name == "Halted":
            error.note = "the code differs"
        if name == "StoreRefused":
            error.status = 500
        assert code_of(error) == int(code), name


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_that_a_page_names_exist(page: Path) -> None:
    known = {name for name, _ in commands()}
    groups = {name.split()[0] for name in known if " " in name}
    for words in re.findall(r"`durable ((?:--store \S+ )?[^`]*)`", page.read_text()):
        typed = re.sub(r"^--store \S+ ", "", words).split()
        if not typed or not re.fullmatch(r"[a-z]+", typed[0]):
            continue
        assert typed[0] in known, words
        if typed[0] in groups and len(typed) > 1 and re.fullmatch(r"[a-z]+", typed[1]):
            assert f"{typed[0]} {typed[1]}" in known, words


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        place = (page.parent / target).resolve()
        assert place.exists() or (place.is_relative_to(DOCS) and str(place.relative_to(DOCS)) in GENERATED), target


def test_every_page_is_in_the_navigation() -> None:
    said = set(re.findall(r"^ +- ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert said == {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} | GENERATED
