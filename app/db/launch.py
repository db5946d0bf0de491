"""How the programs of the embedded server are run: as whom, with which environment, and detached from the app."""

import os
import pwd
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

# Nothing of the app's environment reaches the server; TZ saves initdb a search through the zone files.
_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC"}
# The shell leaves at once, so the app has no child to reap and the server no parent to be killed with.
_DETACH = '"$@" &'


class EmbeddedPostgresError(Exception):
    """The embedded server can't be used; the message says why and what to do."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Who the server runs as; `is_other` when that is not the user of this process (who is root then)."""

    uid: int
    gid: int
    is_other: bool


def choose_account(root: Path) -> Account:
    """Return the account for the server below `root`: ourselves, but never root.

    For root it is the owner of the data or of `root`, else `postgres`, else `nobody`; no user is created.
    """
    if os.geteuid() != 0:
        return Account(uid=os.geteuid(), gid=os.getegid(), is_other=False)
    for folder in (root / "data", root):
        if folder.is_dir() and folder.stat().st_uid != 0:
            return Account(uid=folder.stat().st_uid, gid=folder.stat().st_gid, is_other=True)
    return _find_unprivileged()


def _find_unprivileged() -> Account:
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(uid=entry.pw_uid, gid=entry.pw_gid, is_other=True)
    return Account(uid=65534, gid=65534, is_other=True)


def choose_initdb_account(account: Account) -> Account:
    """Return who makes the data of `account`: initdb, unlike the server, insists on a user with a name.

    A folder that a container got from its host often belongs to a user id without one; then another account makes
    the data, and root gives it away.
    """
    try:
        pwd.getpwuid(account.uid)
    except KeyError:
        if account.is_other:
            return _find_unprivileged()
        raise EmbeddedPostgresError(
            f"Postgres can't be set up by a user without a name: add user id {account.uid} to /etc/passwd, "
            "start RelayCore as another user, or set DATABASE_URL."
        ) from None
    return account


def is_reachable(path: Path, account: Account) -> bool:
    """Tell whether `account` may enter every folder above `path` and read and enter or run `path` itself."""
    parents = all(_permits(folder.stat(), account, 0o1) for folder in path.parents)
    return parents and _permits(path.stat(), account, 0o5)


def _permits(status: os.stat_result, account: Account, wanted: int) -> bool:
    if account.uid == status.st_uid:
        granted = status.st_mode >> 6
    elif account.gid == status.st_gid:
        granted = status.st_mode >> 3
    else:
        granted = status.st_mode
    return stat.S_IMODE(granted) & wanted == wanted


def run_program(arguments: Sequence[str], account: Account, *, fds: Sequence[int] = (), timeout_seconds: float) -> str:
    """Run a program as `account` to its end and return what it printed; raises when it fails."""
    try:
        done = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=max(timeout_seconds, 1),
            cwd="/",
            env=_ENVIRONMENT,
            umask=0o077,
            start_new_session=True,
            pass_fds=fds,
            user=account.uid if account.is_other else None,
            group=account.gid if account.is_other else None,
            extra_groups=[] if account.is_other else None,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EmbeddedPostgresError(
            f"{arguments[0]} did not end within {timeout_seconds:.0f} s; is the disk very slow?"
        ) from error
    if done.returncode != 0:
        raise EmbeddedPostgresError(f"{arguments[0]} failed: {done.stdout.strip()[-1500:]}")
    return done.stdout


def start_detached(
    arguments: Sequence[str], account: Account | None, *, fds: Sequence[int], log_fd: int = subprocess.DEVNULL
) -> None:
    """Start a program that outlives the app and its terminal; it inherits `fds` and nothing else."""
    other = account if account is not None and account.is_other else None
    subprocess.run(
        ["/bin/sh", "-c", _DETACH, "sh", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=log_fd,
        stderr=log_fd,
        cwd="/",
        env=_ENVIRONMENT,
        umask=0o077,
        start_new_session=True,
        pass_fds=fds,
        user=other.uid if other else None,
        group=other.gid if other else None,
        extra_groups=[] if other else None,
        check=True,
    )
