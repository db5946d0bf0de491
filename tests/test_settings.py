"""What the environment may say."""

import pickle
from pathlib import Path

import pytest

from app.settings import SettingsError, read_settings

SECRETS = {
    "RELAYCORE_ADMIN_KEY": "rk-admin-long-enough",
    "RELAYCORE_SECRET_KEY": "a-secret-key-long-enough",
    "DATABASE_URL": "postgresql://me:hidden-password@db/relaycore",
    "OPENAI_API_KEY": "sk-hidden",
}


def test_an_empty_environment_is_enough() -> None:
    """Without a variable the gateway listens on this machine only, on port 4000, with its own Postgres."""
    settings = read_settings({})
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 4000, 1)
    assert settings.embedded
    assert settings.data_dir.is_absolute()


@pytest.mark.parametrize(
    ("environ", "flags", "port"),
    [
        ({"PORT": "81"}, {}, 81),
        ({"PORT": "81", "RELAYCORE_PORT": "82"}, {}, 82),
        ({"PORT": "81", "RELAYCORE_PORT": "82"}, {"port": 83}, 83),
        ({"PORT": ""}, {"port": None}, 4000),
    ],
)
def test_flags_win_over_the_environment(environ, flags, port) -> None:
    """--port wins over RELAYCORE_PORT, which wins over PORT; what is empty or not given counts for nothing."""
    assert read_settings(environ, **flags).port == port


def test_variables_arrive() -> None:
    """Host, workers, data folder and limits are taken over."""
    settings = read_settings(
        {
            "RELAYCORE_HOST": "0.0.0.0",
            "RELAYCORE_WORKERS": "3",
            "RELAYCORE_DATA_DIR": "/somewhere",
            "RELAYCORE_UPSTREAM_IDLE_SECONDS": "1.5",
            "RELAYCORE_DRAIN_SECONDS": "0",
            "https_proxy": "http://proxy:1",
            "NO_PROXY": "localhost",
        }
    )
    assert (settings.host, settings.workers, settings.data_dir) == ("0.0.0.0", 3, Path("/somewhere"))
    assert (settings.upstream.idle_seconds, settings.drain_seconds) == (1.5, 0)
    assert (settings.upstream.proxies, settings.upstream.no_proxy) == ({"https": "http://proxy:1"}, "localhost")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RELAYCORE_PORT", "65536"),
        ("RELAYCORE_PORT", "-1"),
        ("PORT", "four"),
        ("RELAYCORE_WORKERS", "0"),
        ("RELAYCORE_WORKERS", "1.5"),
        ("RELAYCORE_RETENTION_DAYS", "0"),
        ("RELAYCORE_UPSTREAM_TOTAL_SECONDS", "0"),
        ("RELAYCORE_UPSTREAM_TOTAL_SECONDS", "nan"),
        ("RELAYCORE_UPSTREAM_TOTAL_SECONDS", "soon"),
        ("DATABASE_URL", "mysql://me:hidden@db/x"),
        ("DATABASE_URL", "db.example.org"),
        ("DATABASE_URL", "postgresql://me:hid%zzden@db/x"),
        ("DATABASE_URL", "postgresql://me:hidden@[::1/x"),
        ("RELAYCORE_ADMIN_KEY", ""),
        ("RELAYCORE_ADMIN_KEY", "  "),
        ("RELAYCORE_ADMIN_KEY", "sk-1234"),
        ("RELAYCORE_ADMIN_KEY", "ChangeMe"),
        ("RELAYCORE_ADMIN_KEY", "short"),
        ("RELAYCORE_SECRET_KEY", ""),
        ("RELAYCORE_SECRET_KEY", "only-15-letters"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(name, value) -> None:
    """The message is one line that names the variable and does not repeat a secret."""
    with pytest.raises(SettingsError) as caught:
        read_settings({name: value})
    message = str(caught.value)
    assert name in message
    assert "\n" not in message
    assert "hid" not in message


def test_an_unknown_parameter_of_the_database_is_named() -> None:
    """A parameter that libpq does not know is said, so that it can be removed."""
    with pytest.raises(SettingsError, match='"pgbouncer"'):
        read_settings({"DATABASE_URL": "postgresql://me:hidden@db/x?pgbouncer=true"})


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_every_spelling_of_a_postgres_url_is_understood(scheme) -> None:
    """URLs as other tools write them mean the same database."""
    assert read_settings({"DATABASE_URL": f"{scheme}://me@db/x"}).database_url == "postgresql://me@db/x"


def test_secrets_are_not_shown_but_travel_to_workers() -> None:
    """Neither repr nor str has a secret in it; pickled for a worker process the settings are whole."""
    settings = read_settings(SECRETS)
    assert not [value for value in SECRETS.values() if value in repr(settings) + str(settings)]
    assert pickle.loads(pickle.dumps(settings)) == settings
