"""The settings of the embedded server: ours for a small gateway, what the caller wishes, and how they are written."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from app.db.launch import EmbeddedPostgresError

_SHM = Path("/dev/shm")  # noqa: S108 - asked for its size only
_SMALL_SHM_BYTES = 512 << 20
_DEFAULTS = {
    "shared_buffers": "128MB",
    "max_connections": "100",
    "max_wal_size": "512MB",
    "huge_pages": "off",
    "jit": "off",
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # Detail lines quote the values of rows.
    "log_error_verbosity": "terse",
}
_UNSAFE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def build_settings(
    given: Mapping[str, str], *, unsafe: bool, tcp_port: int | None, shm_bytes: int | None
) -> dict[str, str]:
    """Return the settings of the server: ours for a small gateway, with `given` over them."""
    settings = dict(_DEFAULTS)
    if unsafe:
        settings |= _UNSAFE
    if tcp_port is not None:
        settings |= {"listen_addresses": "127.0.0.1", "port": str(tcp_port)}
    if shm_bytes is not None and shm_bytes < _SMALL_SHM_BYTES:
        # Docker gives 64 MB, in which a parallel index build fails.
        settings["dynamic_shared_memory_type"] = "mmap"
    return {**settings, **given}


def measure_shm(folder: Path = _SHM) -> int | None:
    """Return the size of the shared memory file system, None where there is none."""
    try:
        status = os.statvfs(folder)
    except FileNotFoundError:
        return None
    return status.f_blocks * status.f_frsize


def write_settings_text(settings: Mapping[str, str]) -> str:
    """Return `settings` in the syntax of postgresql.conf."""
    return "".join(f"{name} = {_quote(name, value)}\n" for name, value in settings.items())


def _quote(name: str, value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][\w.]*", name) or "\n" in value:
        raise EmbeddedPostgresError(f"{name!r} = {value!r} can't be a Postgres setting.")
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
