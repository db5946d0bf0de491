"""Our own Postgres: started or joined by every app on one folder, stopped by the last one out or by the keeper."""

import fcntl
import os
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self
from urllib.parse import quote

import msgspec
import psycopg

from app.db import cluster as files
from app.db import keeper
from app.db.binaries import find_binaries, provide_binaries
from app.db.bootstrap import DATABASE, create_database, probe_vector, set_password
from app.db.keeper import find_server, read_postmaster_file, stop_server, try_lock
from app.db.launch import EmbeddedPostgresError, choose_initdb_account, start_detached
from app.db.locks import Deadline, open_lock, opened_lock, wait_for_lock
from app.db.server_log import read_log_tail, rotate_log
from app.db.server_settings import build_settings, measure_shm, write_settings_text

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError", "probe_vector"]

_PORT_LINE, _ADDRESS_LINE, _STATUS_LINE = 3, 5, 7


class _Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller of `open` asked for; a restart needs it again."""

    settings: Mapping[str, str]
    unsafe: bool
    start_timeout_seconds: float
    tcp_port: int | None
    binaries: Path | None
    say: Callable[[str], None]


def _say_nothing(sentence: str) -> None:
    del sentence


class EmbeddedPostgres:
    """One app's hold on the embedded server below `root`."""

    url: str
    tcp_url: str | None

    def __init__(self, cluster: files.Cluster, wishes: _Wishes) -> None:
        self._cluster = cluster
        self._wishes = wishes
        self._clients_fd = open_lock(cluster, "clients")

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        settings: Mapping[str, str] = MappingProxyType({}),
        fast_and_unsafe: bool = False,
        start_timeout_seconds: float = 60,
        tcp_port: int | None = None,
        binaries: Path | None = None,
        say: Callable[[str], None] = _say_nothing,
    ) -> Self:
        """Start the server below `root`, or join the one that runs there already; blocks until it answers.

        `settings` go over ours and under what ALTER SYSTEM sets; who joins finds the settings of who started.
        `fast_and_unsafe` is for tests: a power failure loses the data. `tcp_port` opens 127.0.0.1 besides the
        socket, with the password in `tcp_url`. `binaries` is the folder of other Postgres programs.
        """
        wishes = _Wishes(
            settings=settings,
            unsafe=fast_and_unsafe,
            start_timeout_seconds=start_timeout_seconds,
            tcp_port=tcp_port,
            binaries=binaries,
            say=say,
        )
        with _explaining(root):
            self = cls(files.open_cluster(root), wishes)
            try:
                self._bring_up()
            except BaseException:
                # The keeper stops what has been started.
                os.close(self._clients_fd)
                raise
        return self

    def database_url(self, name: str) -> str:
        """Return the URL of the database `name` on this server."""
        folder = quote(str(files.find_socket_folder(self._cluster.root)))
        return f"postgresql://postgres@/{quote(name, safe='')}?host={folder}&port={self._port}"

    def ensure_running(self) -> bool:
        """Start a server that has died again; True when that was needed."""
        if self._clients_fd < 0:
            raise EmbeddedPostgresError("This hold on the database was closed.")
        with _explaining(self._cluster.root):
            rotate_log(self._cluster)
            if self._is_ready() and not self._lacks_keeper():
                return False
            return self._bring_up()

    def close(self) -> None:
        """Let the server go; the last app to do so stops it."""
        fd, self._clients_fd = self._clients_fd, -1
        if fd < 0:
            return
        with _explaining(self._cluster.root):
            try:
                fcntl.flock(fd, fcntl.LOCK_UN)
                if try_lock(fd, fcntl.LOCK_EX):
                    self._stop()
                else:
                    # Whoever holds it alone is stopping the server: the keeper, or another app that leaves.
                    wait_for_lock(fd, fcntl.LOCK_SH, Deadline(3 * keeper.PATIENCE_SECONDS))
            finally:
                os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ── starting ──

    def _bring_up(self) -> bool:
        deadline = Deadline(self._wishes.start_timeout_seconds)
        with opened_lock(self._cluster, "start") as start_fd:
            wait_for_lock(start_fd, fcntl.LOCK_EX, deadline)
            wait_for_lock(self._clients_fd, fcntl.LOCK_SH, deadline)
            self._start_keeper()
            started = self._start_or_join(deadline)
            self._prepare_access(deadline)
        return started

    def _start_or_join(self, deadline: Deadline) -> bool:
        started = False
        while not self._is_ready():
            with opened_lock(self._cluster, "server") as server_fd:
                # The lock is free exactly when no process of a server lives, here or in another container.
                if try_lock(server_fd, fcntl.LOCK_EX):
                    if started:
                        raise self._failure("Postgres stopped while it was starting.")
                    self._start(server_fd, deadline)
                    started = True
                elif not started:
                    self._refuse_foreign_server()
            self._pause_for_start(deadline)
        return started

    def _pause_for_start(self, deadline: Deadline) -> None:
        try:
            deadline.pause("Postgres to get ready")
        except EmbeddedPostgresError as error:
            raise self._failure(f"{error} A longer start timeout helps when it is still recovering.") from None

    def _start(self, server_fd: int, deadline: Deadline) -> None:
        cluster, wishes = self._cluster, self._wishes
        found = find_binaries(wishes.binaries)
        binaries = provide_binaries(found, choose_initdb_account(cluster.account), cluster.root, wishes.say)
        if (cluster.data / "postmaster.pid").exists():
            wishes.say("Recovering the database after a crash ...")
        files.remove_leftovers(cluster)
        if not files.find_data(cluster, binaries):
            wishes.say("Creating the database (first start only) ...")
            self._create_data(binaries, server_fd, deadline)
        settings = build_settings(
            wishes.settings,
            unsafe=wishes.unsafe,
            tcp_port=wishes.tcp_port,
            shm_bytes=measure_shm(),
        )
        files.write_settings(cluster, write_settings_text(settings))
        rotate_log(cluster)
        files.start_server(cluster, binaries, server_fd)

    def _create_data(self, binaries: Path, server_fd: int, deadline: Deadline) -> None:
        files.create_data(
            self._cluster,
            binaries,
            server_fd,
            sync=not self._wishes.unsafe,
            timeout_seconds=deadline.left(),
        )

    def _start_keeper(self) -> None:
        with opened_lock(self._cluster, "keeper") as keeper_fd:
            if not try_lock(keeper_fd, fcntl.LOCK_EX):
                return
            with opened_lock(self._cluster, "clients") as clients_fd, opened_lock(self._cluster, "server") as server_fd:
                fds = (keeper_fd, clients_fd, server_fd)
                command = [sys.executable, "-I", "-S", keeper.__file__, *map(str, fds)]
                command += [str(self._cluster.data), self._cluster.marker]
                start_detached(command, None, fds=fds)

    def _lacks_keeper(self) -> bool:
        with opened_lock(self._cluster, "keeper") as fd:
            return try_lock(fd, fcntl.LOCK_SH)

    # ── the running server ──

    def _is_ready(self) -> bool:
        if find_server(self._cluster.data, self._cluster.marker) is None:
            return False
        return self._read_line(_STATUS_LINE) == "ready"

    def _read_line(self, number: int) -> str:
        lines = read_postmaster_file(self._cluster.data)
        return lines[number] if number < len(lines) else ""

    @property
    def _port(self) -> str:
        return self._read_line(_PORT_LINE) or "5432"

    def _refuse_foreign_server(self) -> None:
        """Raise when a server that isn't ours to see answers; processes left by a dead server don't."""
        cluster = self._cluster
        if find_server(cluster.data, cluster.marker) or self._read_line(_STATUS_LINE) != "ready":
            return
        try:
            psycopg.connect(self.database_url("postgres"), connect_timeout=2).close()
        except psycopg.Error:
            return
        raise EmbeddedPostgresError(
            f"The database in {cluster.root} is in use by a server in another container. Give each "
            "container a data directory of its own, or all of them one Postgres by DATABASE_URL."
        )

    def _prepare_access(self, deadline: Deadline) -> None:
        """Set the URLs, and make what they lead to: the database, and the password when TCP is asked for."""
        self.url = self.database_url(DATABASE)
        while True:
            try:
                create_database(self.database_url("postgres"), max(int(deadline.left()), 2))
                self.tcp_url = self._open_tcp(max(int(deadline.left()), 2))
            except psycopg.Error as error:
                # Without a state it never got as far as a query: the server is restarting after a crash.
                if error.sqlstate is not None:
                    raise self._failure(f"Postgres runs, but can't be used: {error}") from error
                self._pause_for_start(deadline)
            else:
                return

    def _open_tcp(self, timeout: int) -> str | None:
        if self._wishes.tcp_port is None:
            return None
        address = self._read_line(_ADDRESS_LINE)
        if not address:
            raise EmbeddedPostgresError(
                f"The database in {self._cluster.root} was started without TCP by another RelayCore; "
                "stop that one first."
            )
        password = files.read_password(self._cluster)
        set_password(self.url, password, timeout)
        return f"postgresql://postgres:{password}@{address}:{self._port}/{DATABASE}"

    def _stop(self) -> None:
        with opened_lock(self._cluster, "server") as server_fd:
            cluster = self._cluster
            if not stop_server(cluster.data, cluster.marker, server_fd, keeper.PATIENCE_SECONDS):
                raise self._failure("Postgres doesn't stop.")

    def _failure(self, message: str) -> EmbeddedPostgresError:
        return EmbeddedPostgresError(message + read_log_tail(self._cluster))


@contextmanager
def _explaining(root: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise EmbeddedPostgresError(
            f"The database folder {root} can't be used: {error}. Check its owner, its free space and that it "
            "is on a local disk."
        ) from error
