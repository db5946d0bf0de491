"""The file of the secret key: made once, replaced whole."""

from pathlib import Path

import pytest

from app.secret_file import choose_new_key, read_or_make
from app.settings import Settings, SettingsError

GIVEN = "a-new-secret-key-of-the-operator"


def test_it_is_made_once_and_private(tmp_path: Path) -> None:
    """The first who asks makes the file, readable for nobody else; an empty one is no key."""
    path = tmp_path / "secret.key"
    made = read_or_make(path)
    assert len(made) == 64
    assert read_or_make(path) == made
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
    path.write_text("\n")
    with pytest.raises(SettingsError, match="empty"):
        read_or_make(path)


@pytest.mark.parametrize("given", [None, GIVEN])
def test_the_new_key_lies_ready_before_it_is_in_use(tmp_path: Path, given: str | None) -> None:
    """A new key is on disk before anything is wrapped with it; `keep` puts it in the old one's place."""
    path = tmp_path / "secret.key"
    old = read_or_make(path)
    chosen = choose_new_key(Settings(data_dir=tmp_path, new_secret_key=given))
    assert (chosen.path, chosen.made) == (path, given is None)
    assert chosen.key == (given or chosen.key) != old
    assert read_or_make(path) == old
    assert {one.stat().st_mode & 0o777 for one in tmp_path.iterdir()} == {0o600}
    chosen.keep()
    assert read_or_make(path) == chosen.key
    assert list(tmp_path.iterdir()) == [path]


def test_a_rotation_that_was_cut_off_goes_on_with_its_key(tmp_path: Path) -> None:
    """A key that lies ready may be in use already: the next run takes it, unless it is given another."""
    read_or_make(tmp_path / "secret.key")
    first = choose_new_key(Settings(data_dir=tmp_path))
    assert choose_new_key(Settings(data_dir=tmp_path)).key == first.key
    assert choose_new_key(Settings(data_dir=tmp_path, new_secret_key=GIVEN)).key == GIVEN
    assert choose_new_key(Settings(data_dir=tmp_path)).key == GIVEN


@pytest.mark.parametrize("outside", [{"secret_key": "k" * 20}, {"database_url": "postgresql://x/y"}])
def test_a_key_from_outside_is_the_operators_to_replace(tmp_path: Path, outside: dict[str, str]) -> None:
    """Where the environment gives the secret key no file is touched."""
    chosen = choose_new_key(Settings(data_dir=tmp_path, **outside))
    assert (chosen.path, chosen.made) == (None, True)
    chosen.keep()
    assert list(tmp_path.iterdir()) == []
