"""The files of one embedded Postgres: its folder, data, settings, socket, password and log."""

import fcntl
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from app.db.launch import (
    Account,
    EmbeddedPostgresError,
    choose_account,
    choose_initdb_account,
    is_reachable,
    run_program,
    start_detached,
)

# sun_path holds 104 bytes on macOS and 108 on Linux, the closing NUL included.
_SOCKET_PATH_BYTES = 103
_SETTINGS_FILE = "relaycore.conf"
_INITDB_OPTIONS = (
    "--username=postgres",
    "--encoding=UTF8",
    # The builtin provider needs no locale of the system, and no update of it can change the order in our indexes.
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--auth-local=trust",
    "--auth-host=scram-sha-256",
    "--no-instructions",
)


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """Where one embedded server lives, and as whom it runs."""

    root: Path
    account: Account

    @property
    def data(self) -> Path:
        """The data directory of Postgres."""
        return self.root / "data"

    @property
    def log(self) -> Path:
        """What the server has to say."""
        return self.root / "postgres.log"

    @property
    def marker(self) -> str:
        """The word on the server's command line by which it is known; the same whatever path leads to `root`."""
        return f"cluster_name=relaycore-{self.root.stat().st_ino}"


def open_cluster(root: Path) -> Cluster:
    """Return the cluster in `root`, whose folder is made when it is missing."""
    root = root.resolve()
    account = choose_account(root)
    if not root.is_dir():
        root.parent.mkdir(parents=True, exist_ok=True)
        _make_folder(root, account)
    return Cluster(root=root, account=account)


def _make_folder(folder: Path, account: Account) -> None:
    folder.mkdir(mode=0o700)
    _give_away(folder, account)


def _give_away(path: Path, account: Account) -> None:
    if account.is_other:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def open_file(path: Path, account: Account, flags: int = os.O_RDWR) -> int:
    """Open a private file of the cluster, which belongs to `account`; a symbolic link is never followed."""
    flags |= os.O_NOFOLLOW
    try:
        fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _keep_off_standard(os.open(path, flags))
    if account.is_other:
        os.fchown(fd, account.uid, account.gid)
    return _keep_off_standard(fd)


def _keep_off_standard(fd: int) -> int:
    # An app without stdin would get its number here, and the server would not inherit the file but /dev/null.
    if fd > 2:
        return fd
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    return moved


def write_file(path: Path, account: Account, text: str) -> None:
    """Write a private file of the cluster in one step."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(open_file(unfinished, account, os.O_WRONLY), "w", encoding="utf-8") as file:
        file.write(text)
    unfinished.replace(path)


# ── the data directory ──


def create_data(cluster: Cluster, binaries: Path, lock_fd: int, *, sync: bool, timeout_seconds: float) -> None:
    """Make a new data directory: built beside its place and renamed, so that a half-made one is never found.

    initdb inherits `lock_fd` like the server, so the next start waits for one whose app was killed.
    """
    maker = choose_initdb_account(cluster.account)
    unfinished = Path(tempfile.mkdtemp(prefix="init-", dir=cluster.root))
    _give_away(unfinished, maker)
    options = (*_INITDB_OPTIONS, *(() if sync else ("--no-sync",)))
    try:
        with _handed_over(maker, unfinished) as (names, fds):
            command = [str(binaries / "initdb"), *options, f"--pgdata={names[0]}"]
            run_program(command, maker, fds=(lock_fd, *fds), timeout_seconds=timeout_seconds)
        _include_settings(unfinished, cluster.account)
        if maker != cluster.account:
            for path in (unfinished, *unfinished.rglob("*")):
                _give_away(path, cluster.account)
        unfinished.rename(cluster.data)
        if sync:
            _sync(cluster.data / "postgresql.conf")
            _sync(cluster.root)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _include_settings(data: Path, account: Account) -> None:
    fd = open_file(data / "postgresql.conf", account, os.O_WRONLY | os.O_APPEND)
    with os.fdopen(fd, "a", encoding="utf-8") as file:
        file.write(f"\ninclude_if_exists = '{_SETTINGS_FILE}'  # rewritten at every start\n")


def remove_leftovers(cluster: Cluster) -> None:
    """Remove what a killed start or a killed server left; only for who knows that no server runs.

    Postgres refuses to start on a pid file whose pid is a zombie or was given to another process.
    """
    for folder in cluster.root.glob("init-*"):
        shutil.rmtree(folder)
    (cluster.data / "postmaster.pid").unlink(missing_ok=True)
    for file in find_socket_folder(cluster.root).glob(".s.PGSQL.*"):
        file.unlink(missing_ok=True)


def find_data(cluster: Cluster, binaries: Path) -> bool:
    """Tell whether there is a data directory; raises when there is one that these programs can't serve."""
    version_file = cluster.data / "PG_VERSION"
    if not version_file.exists():
        if cluster.data.is_dir() and any(cluster.data.iterdir()):
            raise EmbeddedPostgresError(f"{cluster.data} is not empty and no Postgres data directory.")
        return False
    data_major = version_file.read_text().strip()
    printed = run_program([str(binaries / "postgres"), "--version"], cluster.account, timeout_seconds=10)
    own_major = re.sub(r"^\D*(\d+).*", r"\1", printed.strip())
    if data_major != own_major:
        raise EmbeddedPostgresError(
            f"{cluster.data} was made by PostgreSQL {data_major}, and the installed programs are PostgreSQL "
            f"{own_major}. Install the programs of version {data_major} again, or move the data with pg_dump."
        )
    return True


def write_settings(cluster: Cluster, text: str) -> None:
    """Write the settings file that postgresql.conf includes; what ALTER SYSTEM sets is read after it and wins."""
    write_file(cluster.data / _SETTINGS_FILE, cluster.account, text)


def read_password(cluster: Cluster) -> str:
    """Return the password for TCP connections, which is made at the first use."""
    path = cluster.root / "password"
    if not path.exists():
        write_file(path, cluster.account, secrets.token_urlsafe(32))
    return path.read_text()


# ── the socket folder ──


def find_socket_folder(root: Path) -> Path:
    """Return the folder of the server's socket: `root`/sock, or what that links to."""
    folder = root / "sock"
    return folder.readlink() if folder.is_symlink() else folder


def make_socket_folder(cluster: Cluster) -> Path:
    """Return the private folder for the server's socket, made when it is missing.

    Where a socket's path would be too long for the system, `sock` links to a short folder for temporary files.
    """
    folder = find_socket_folder(cluster.root)
    if folder.is_dir() and folder.stat().st_uid == cluster.account.uid:
        return folder
    link = cluster.root / "sock"
    link.unlink(missing_ok=True)
    if _fits(link):
        _make_folder(link, cluster.account)
        return link
    short = Path(tempfile.mkdtemp(prefix="relaycore-"))
    _give_away(short, cluster.account)
    link.symlink_to(short)
    return short


def _fits(folder: Path) -> bool:
    # A comma separates hosts for libpq.
    longest = os.fsencode(folder / ".s.PGSQL.65535")
    return len(longest) <= _SOCKET_PATH_BYTES and b"," not in longest


# ── running ──


def start_server(cluster: Cluster, binaries: Path, lock_fd: int) -> None:
    """Start the server in the background; it holds `lock_fd` as long as one of its processes lives."""
    sock = make_socket_folder(cluster)
    log_fd = open_file(cluster.log, cluster.account, os.O_WRONLY | os.O_APPEND)
    with _handed_over(cluster.account, cluster.data, sock) as (names, fds):
        quoted_sock = '"' + names[1].replace('"', '""') + '"'
        command = [str(binaries / "postgres"), "-D", names[0], "-c", cluster.marker]
        command += ["-c", f"unix_socket_directories={quoted_sock}"]
        try:
            start_detached(command, cluster.account, fds=(lock_fd, *fds), log_fd=log_fd)
        finally:
            os.close(log_fd)


@contextmanager
def _handed_over(account: Account, *folders: Path) -> Generator[tuple[Sequence[str], Sequence[int]]]:
    """Yield names for `folders` that work for `account`, and the descriptors it must inherit for that.

    A folder below a private one of root is reached through a descriptor, so nobody's modes need to change.
    """
    names: list[str] = []
    fds: list[int] = []
    with ExitStack() as stack:
        for folder in folders:
            if not account.is_other or is_reachable(folder, account):
                names.append(str(folder))
                continue
            fd = _keep_off_standard(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW))
            stack.callback(os.close, fd)
            fds.append(fd)
            names.append(_name_of(fd, folder))
        yield names, fds


def _name_of(fd: int, folder: Path, links: Path = Path("/proc/self/fd")) -> str:
    if not links.is_dir():
        raise EmbeddedPostgresError(
            f"Postgres doesn't run as root, and no other user can reach {folder}. Choose a data directory that "
            "is not below a private folder, or start RelayCore as an ordinary user."
        )
    return str(links / str(fd))
