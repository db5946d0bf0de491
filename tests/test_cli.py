"""The command line: what it takes, and how it fails."""

from collections.abc import Iterator
from importlib import metadata

import click
import pytest
from click.testing import CliRunner, Result

from app.cli import main
from tests.conftest import SECRET_KEY


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a command in an empty folder with nothing but the given variables."""
    monkeypatch.chdir(tmp_path)

    def run_it(*words: str, **environ: str) -> Result:
        monkeypatch.setattr("os.environ", {"RELAYCORE_DATA_DIR": str(tmp_path / "data"), **environ})
        return CliRunner().invoke(main, words)

    return run_it


def list_commands(command: click.Command = main, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command and group."""
    yield words
    for name, one in command.commands.items() if isinstance(command, click.Group) else ():
        yield from list_commands(one, (*words, name))


@pytest.mark.parametrize("words", list(list_commands()), ids=lambda words: " ".join(("relaycore", *words)))
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_explains_itself(run, words, flag) -> None:
    """--help and -h print the usage."""
    done = run(*words, flag)
    assert done.exit_code == 0
    assert done.output.startswith("Usage: ")


def test_the_version_is_said(run) -> None:
    """--version names the package's version, where it is installed as a package."""
    try:
        metadata.version("relaycore")
    except metadata.PackageNotFoundError:
        pytest.skip("run from a checkout that is not installed")
    assert run("--version").output.startswith("relaycore")


OUTSIDE = {"RELAYCORE_SECRET_KEY": SECRET_KEY, "DATABASE_URL": "postgresql://me:hidden-password@127.0.0.1:1/x"}
FAILURES = [
    (["serve"], OUTSIDE, "The database cannot be used: "),
    (["worker"], OUTSIDE, "The database cannot be used: "),
    (["migrate"], OUTSIDE, "The database cannot be used: "),
    (["keys", "list"], OUTSIDE, "The database cannot be used: "),
    (["ledger", "check"], OUTSIDE, "The database cannot be used: "),
    (["audit", "verify"], OUTSIDE, "The database cannot be used: "),
    (["audit", "list"], OUTSIDE, "The database cannot be used: "),
    (["prices", "update"], OUTSIDE, "The database cannot be used: "),
    (["prices", "show", "openai", "gpt-4o"], OUTSIDE, "The database cannot be used: "),
    (["prices", "rerate", "--from", "2026-01-01"], OUTSIDE, "The database cannot be used: "),
    (["prices", "rerate", "--from", "2999-01-01"], OUTSIDE, "--to (now, when it is not given) must be later"),
    (["secret", "rotate"], OUTSIDE, "The database cannot be used: "),
    (["secret", "finish"], OUTSIDE, "The database cannot be used: "),
    (
        ["secret", "finish"],
        {"DATABASE_URL": OUTSIDE["DATABASE_URL"]},
        "With DATABASE_URL, RELAYCORE_SECRET_KEY must be set",
    ),
    (
        ["serve"],
        {**OUTSIDE, "DATABASE_URL": "postgresql://me:hidden-password@h:port/x"},
        "The database cannot be used: ",
    ),
    (["serve"], {**OUTSIDE, "DATABASE_URL": "mysql://me:hidden-password@h/x"}, "DATABASE_URL must start with"),
    (["serve"], {"DATABASE_URL": OUTSIDE["DATABASE_URL"]}, "With DATABASE_URL, RELAYCORE_SECRET_KEY must be set"),
    (["serve"], {"RELAYCORE_ADMIN_KEY": ""}, "RELAYCORE_ADMIN_KEY is empty"),
    (["serve"], {"RELAYCORE_PORT": "x"}, "RELAYCORE_PORT must be"),
    (["serve"], {"RELAYCORE_HOST": "192.0.2.1"}, "Cannot listen on http://192.0.2.1:4000: "),
    (["serve", "--port", "0"], {"RELAYCORE_DATA_DIR": "/dev/null/x"}, "The data folder /dev/null/x cannot be used: "),
    (["keys", "list"], {"RELAYCORE_DATA_DIR": "/dev/null"}, "The data folder /dev/null cannot be used: "),
]


@pytest.mark.parametrize(("words", "environ", "message"), FAILURES)
def test_a_failure_is_one_line(run, words, environ, message) -> None:
    """What an operator can mend ends with status 1 and one line, without a password in it."""
    done = run(*words, **environ)
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: {message}"), done.output
    assert done.output.count("\n") == 1
    assert "hidden" not in done.output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("providers: [", "while parsing"),
        ("providers: {openai: {type: nonsense}}", "Unknown type 'nonsense'"),
        ("providers: {openai: {type: openai, api_key: '${NOT_SET}'}}", "NOT_SET is not set"),
        ("prowiders: {}", "prowiders"),
    ],
)
def test_a_bad_configuration_is_one_line(run, tmp_path, database_url, text, message) -> None:
    """A file that cannot be used ends the start with its name, the place and the reason, in one line."""
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    environ = {"DATABASE_URL": database_url, "RELAYCORE_SECRET_KEY": SECRET_KEY}
    done = run("serve", "--port", "0", "--config", str(path), **environ)
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: {path}: ")
    assert message in done.output
    assert done.output.count("\n") == 1


def test_keys_on_the_command_line(run, database_url) -> None:
    """`keys create` prints the key and nothing else; `keys list` shows its public part only."""
    environ = {"DATABASE_URL": database_url, "RELAYCORE_SECRET_KEY": SECRET_KEY}
    key = run("keys", "create", "--user", "a@example.org", "--name", "mine", **environ).output.strip()
    assert key.startswith("rk-")
    listed = run("keys", "list", **environ).output
    assert key[:16] in listed
    assert key not in listed


def test_migrating_twice_does_nothing(run, database_url) -> None:
    """`migrate` says how many migrations it took, none the second time."""
    environ = {"DATABASE_URL": database_url}
    assert "(0 migrations applied)" in run("migrate", **environ).output


def test_the_doctor_says_what_is_wrong(run, database_url) -> None:
    """`doctor` ends with status 1 when something is wrong, and starts and changes nothing."""
    assert run("doctor").exit_code == 0
    assert run("doctor", DATABASE_URL=database_url, RELAYCORE_SECRET_KEY=SECRET_KEY).exit_code == 0
    away = run("doctor", **OUTSIDE)
    assert away.exit_code == 1
    assert "The database cannot be used" in away.output
    assert "hidden" not in away.output
    assert run("doctor", DATABASE_URL=database_url).exit_code == 1
