"""The rules of the house that no linter knows."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(path for path in (ROOT / "app").rglob("*.py") if "migrations" not in path.parts)
MAX_LINES = 300
MAX_FUNCTION_LINES = 50
SQL = re.compile(r"\b(SELECT\s.+\sFROM|INSERT INTO|UPDATE \w+ SET|DELETE FROM|CREATE TABLE)\b", re.DOTALL)
SQL_HOMES = re.compile(r"app/(db/|.*store\.py|.*reports\.py|analytics/tasks\.py)")
MAX_SUPPRESSIONS = 17


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def sentence_of(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    return docstring.partition("\n")[0]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_opens_with_one_sentence(path: Path) -> None:
    """Every module says in its first line what it is about, as a sentence."""
    assert sentence_of(path).endswith((".", "!")), f"{name_of(path)} has no opening sentence"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_architecture_page_lists_the_module(path: Path) -> None:
    """docs/architecture.md has every module's sentence, word for word (docs/list_modules.py prints them)."""
    line = f"- `{name_of(path)}` — {sentence_of(path)}"
    assert line in (ROOT / "docs" / "architecture.md").read_text().splitlines()


def test_the_architecture_page_lists_nothing_else() -> None:
    """docs/architecture.md names no module that is gone."""
    listed = re.findall(r"^- `(app/[^`]+\.py)`", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    assert sorted(listed) == [name_of(path) for path in MODULES]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_stays_small(path: Path) -> None:
    """A module has at most 300 lines and a function at most 50: past that it is redrawn, not stretched."""
    text = path.read_text()
    assert text.count("\n") <= MAX_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < MAX_FUNCTION_LINES, node.name


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_sql_lives_in_stores(path: Path) -> None:
    """SQL text stands only in store and report modules and in app/db."""
    if SQL_HOMES.match(name_of(path)):
        return
    texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
    assert not [text for text in texts if isinstance(text, str) and SQL.search(text)]


def test_suppressions_carry_a_reason_and_stay_few() -> None:
    """A `noqa` or `type: ignore` in app says why behind it, and their number only falls."""
    found = [
        line.strip()
        for path in MODULES
        for line in path.read_text().splitlines()
        if re.search(r"#\s*(noqa|type:\s*ignore|pyright:\s*ignore)", line)
    ]
    assert all(re.search(r"#\s*(noqa: \w+|(type|pyright): ignore\[[\w, ]+\]) - \S", line) for line in found), found
    assert len(found) <= MAX_SUPPRESSIONS, found
