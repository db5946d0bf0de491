"""The pages for people: what they name is there."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest
import yaml

from app.catalog import types
from app.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*).*?\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?<![\w/.-])relaycore (?=[a-z])[^`\n]*")
SECTIONS = [kind for name, kind in vars(types).items() if name.endswith(("Config", "Document"))]
OURS = frozenset({"RELAYCORE_API_KEY"})
"""What the pages call the reader's own key; no program of ours reads it."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def list_anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """A link to a file or a heading of this repository finds it."""
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in list_anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_exist(page: Path) -> None:
    """A `relaycore …` in a page, in a sentence or a shell block, is a command with options that it has."""
    for line in list_command_lines(page.read_text()):
        check_command(shlex.split(line, comments=True)[1:])


def list_command_lines(text: str) -> Iterator[str]:
    """Yield what follows a shell prompt or stands between backticks, up to what the shell makes of it."""
    blocks = [body for language, body in FENCE.findall(text) if language in {"sh", "console", "bash"}]
    quoted = re.findall(r"`(relaycore [^`\n]+)`", FENCE.sub("", text))
    for piece in (*"\n".join(blocks).splitlines(), *quoted):
        yield from (found.split("&&")[0].split("|")[0] for found in COMMAND.findall(piece.partition(" #")[0]))


def check_command(words: list[str]) -> None:
    """Follow the words down the command's groups; what is left must be options and arguments that it takes."""
    command: click.Command = main
    words = [word for word in words if word != "…"]
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        assert name in command.commands, name
        command = command.commands[name]
    options = {option for one in command.params for option in one.opts} | {"-h", "--help", "--version"}
    for word in words:
        assert not word.startswith("-") or word.partition("=")[0] in options, (command.name, word)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_variables_are_read(page: Path) -> None:
    """A RELAYCORE_… variable in a page is one that the settings read."""
    known = set(re.findall(r"RELAYCORE_[A-Z_]+", (ROOT / "app" / "settings.py").read_text())) | OURS
    assert set(re.findall(r"\bRELAYCORE_[A-Z_]+\b", page.read_text())) <= known


def test_every_variable_is_described() -> None:
    """docs/configuration.md has every variable of ours that the settings read."""
    text = (ROOT / "docs" / "configuration.md").read_text()
    read = set(re.findall(r'"(RELAYCORE_[A-Z_]+|DATABASE_URL)"', (ROOT / "app" / "settings.py").read_text()))
    assert {name for name in read if f"`{name}`" not in text} == set()


@pytest.mark.parametrize("kind", SECTIONS, ids=lambda kind: kind.__name__)
def test_every_field_is_described(kind: type[msgspec.Struct]) -> None:
    """docs/configuration.md names every field of every part of the configuration document."""
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert [field for field in kind.__struct_fields__ if not re.search(rf"\b{field}\b", text)] == []


@pytest.mark.parametrize("page", ["caching", "configuration", "limits", "prices"])
def test_examples_of_the_configuration_fit(page: str) -> None:
    """A YAML block of these pages is a configuration document."""
    blocks = [
        text for language, text in FENCE.findall((ROOT / "docs" / f"{page}.md").read_text()) if language == "yaml"
    ]
    for block in blocks:
        msgspec.convert(yaml.safe_load(block), types.ConfigDocument)
    assert blocks
