"""The file that keeps the secret key beside the embedded database, when none is given from outside."""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec

from app.settings import Settings, SettingsError

NAME = "secret.key"


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """The secret key that a rotation leads to. `path` is the file that will hold it, if one does."""

    key: str
    made: bool
    path: Path | None

    def keep(self) -> None:
        """Put the new key in the place of the old one; a process that starts meanwhile reads one of them whole."""
        if self.path is not None:
            _staged(self.path).replace(self.path)
            _sync_folder(self.path.parent)


def read_or_make(path: Path) -> str:
    """Return the secret in the file at `path`, made with mode 0600 when there is none; several starts may race."""
    if not path.exists():
        temporary = _write_beside(path, _make())
        with suppress(FileExistsError):
            os.link(temporary, path)
        temporary.unlink()
    text = path.read_text().strip()
    if not text:
        raise SettingsError(f"{path} is empty; restore it, or delete it to have a new one made (stored keys are lost)")
    return text


def choose_new_key(settings: Settings) -> NewKey:
    """Return the key to rotate to: the given one, else a new one; where a file is used it lies ready beside it.

    One that lies there already is from a rotation that was cut off, and may be in use: it is taken.
    """
    given = settings.new_secret_key
    if not settings.embedded or settings.secret_key is not None:
        return NewKey(key=given or _make(), made=given is None, path=None)
    path = settings.data_dir / NAME
    staged = _staged(path)
    left = staged.read_text().strip() if given is None and staged.exists() else ""
    key = given or left or _make()
    if key != left:
        _write_beside(path, key).replace(staged)
        _sync_folder(path.parent)
    return NewKey(key=key, made=given is None, path=path)


def _make() -> str:
    return secrets.token_hex(32)


def _staged(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _write_beside(path: Path, key: str) -> Path:
    """Return a new file with mode 0600 beside `path`; it belongs to whom the old one does."""
    descriptor, temporary = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "w") as file:
        if path.exists():
            owner = path.stat()
            if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    return Path(temporary)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
