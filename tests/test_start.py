"""What a start puts in place, and when it refuses."""

import os
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psycopg
import pytest

from app.access.keys import find_public_id
from app.catalog.price_data import build_catalogue_rows, build_mock_rows
from app.catalog.secrets import SecretUnreadableError
from app.settings import SettingsError, read_settings
from app.start import create_key, fill, list_keys, provide_secret_key, read_or_make
from tests.conftest import SECRET_KEY


def settings_for(url: str, **environ: str):
    return read_settings({"DATABASE_URL": url, "RELAYCORE_SECRET_KEY": SECRET_KEY, **environ})


def say(sentence: str) -> None:
    del sentence


def test_keys_are_made_once(database_url) -> None:
    """The first start makes an admin key and an API key, later ones none; only hashes are stored."""
    first = fill(settings_for(database_url), None)
    assert first.admin_key
    assert first.first_key
    again = fill(settings_for(database_url), None)
    assert (again.admin_key, again.first_key) == (None, None)
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT octet_length(secret_hash) FROM api_keys").fetchall() == [(32,)]


def test_the_prices_are_those_of_the_catalogue(bare_database_url) -> None:
    """The first start puts in place a price for all that the catalogue and the mock charge for, later ones nothing."""
    fill(settings_for(bare_database_url), None)
    expected = {
        (row.provider, row.model, row.token_class, row.from_input_tokens, row.usd_per_unit, row.source)
        for row in (*build_catalogue_rows(datetime.now(UTC)), *build_mock_rows())
    }
    with psycopg.connect(bare_database_url) as connection:
        columns = "provider, model, token_class, from_input_tokens, usd_per_unit, source"
        found = connection.execute(f"SELECT {columns} FROM prices").fetchall()
        assert (set(found), len(found)) == (expected, len(expected))
        fill(settings_for(bare_database_url), None)
        assert connection.execute("SELECT count(*) FROM price_versions").fetchone() == (len(expected),)


def test_a_given_admin_key_is_not_stored(database_url) -> None:
    """With RELAYCORE_ADMIN_KEY no random one is made or kept."""
    assert fill(settings_for(database_url, RELAYCORE_ADMIN_KEY="rk-admin-of-mine"), None).admin_key is None
    with psycopg.connect(database_url) as connection:
        kept = connection.execute("SELECT name FROM installation WHERE name = 'admin key hash'").fetchall()
    assert kept == []


def test_starts_at_the_same_time_make_one_set_of_keys(database_url) -> None:
    """Of several first starts at once exactly one has keys to show."""
    made = []
    threads = [threading.Thread(target=lambda: made.append(fill(settings_for(database_url), None))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert len([one for one in made if one.admin_key]) == len([one for one in made if one.first_key]) == 1


def test_a_start_is_all_or_nothing(database_url, tmp_path) -> None:
    """When the configuration cannot be read nothing was made, so that the next start still shows the keys."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("providers: 7")
    with pytest.raises(Exception, match="providers"):
        fill(msgspec.structs.replace(settings_for(database_url), config_path=bad), None)
    assert fill(settings_for(database_url), None).admin_key


def test_another_secret_key_is_refused(database_url) -> None:
    """A database belongs to the secret key that it was first started with."""
    fill(settings_for(database_url, OPENAI_API_KEY="sk-x"), None)
    other = settings_for(database_url, RELAYCORE_SECRET_KEY="another-secret-key-0123")
    with pytest.raises(SettingsError, match="another secret key"):
        fill(other, None)
    with pytest.raises(SettingsError, match="another secret key"):
        create_key(other, say, email=None, name="", models=None, expires_days=None)


def test_a_damaged_secret_is_said(database_url) -> None:
    """A stored provider key that was changed stops a start that has to compare it, and is not taken for another."""
    fill(settings_for(database_url, OPENAI_API_KEY="sk-x"), None)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE secrets SET ciphertext = set_byte(ciphertext, 15, get_byte(ciphertext, 15) # 1)")
    with pytest.raises(SecretUnreadableError):
        fill(settings_for(database_url, OPENAI_API_KEY="sk-x"), None)


def test_the_secret_key_is_kept_in_a_private_file(tmp_path) -> None:
    """The embedded database's secret key is made once, readable by its owner alone, however many starts race."""
    settings = read_settings({}, data_dir=tmp_path / "data")
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(provide_secret_key(settings).secret_key or "")) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    path = tmp_path / "data" / "secret.key"
    assert set(found) == {path.read_text()}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["secret.key"]


def test_an_empty_secret_file_is_not_replaced(tmp_path) -> None:
    """An emptied file is an accident to be told, not a reason for a new key."""
    (tmp_path / "secret.key").touch()
    with pytest.raises(SettingsError, match="is empty"):
        read_or_make(tmp_path / "secret.key")


@pytest.mark.parametrize("kind", ["file", "below a file", "read-only"])
def test_a_data_folder_that_cannot_be_used_is_said(tmp_path, kind) -> None:
    """A data folder that is a file, lies below one or cannot be written ends the start with one line."""
    path = tmp_path / "data"
    if kind == "read-only":
        path.mkdir(mode=0o500)
        if os.access(path, os.W_OK):
            pytest.skip("root may write everywhere")
    else:
        path.touch()
        path = path / "deeper" if kind == "below a file" else path
    with pytest.raises(SettingsError, match="data folder") as caught:
        provide_secret_key(read_settings({}, data_dir=path))
    assert "\n" not in str(caught.value)


def test_a_database_of_ones_own_needs_a_secret_key() -> None:
    """With DATABASE_URL and no secret key the start refuses and says how to make one."""
    with pytest.raises(SettingsError, match=r"secrets\.token_hex"):
        provide_secret_key(read_settings({"DATABASE_URL": "postgresql://db/x"}))


def test_keys_are_made_and_listed(database_url) -> None:
    """A key goes to the named user, who is made when unknown, with its models and days."""
    settings = settings_for(database_url)
    key = create_key(settings, say, email="a@example.org", name="mine", models=("mock/echo",), expires_days=2)
    again = create_key(settings, say, email="A@example.org", name="other", models=None, expires_days=None)
    assert list_keys(settings, say) == [
        (find_public_id(key), "mine", "a@example.org"),
        (find_public_id(again), "other", "a@example.org"),
    ]
    with psycopg.connect(database_url) as connection:
        stored = connection.execute(
            "SELECT models, expires_at - created_at FROM api_keys ORDER BY created_at"
        ).fetchall()
    assert stored[0][0] == ["mock/echo"]
    assert 1.9 < stored[0][1].total_seconds() / 86400 < 2.1
    assert stored[1] == (None, None)
    assert not Path("secret.key").exists()
