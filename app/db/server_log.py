"""The log of the embedded server: kept small, and quoted in error messages."""

import os

from app.db.cluster import Cluster, open_file, write_file

_LOG_BYTES = 16 << 20
_LOG_TAIL_BYTES = 3000


def rotate_log(cluster: Cluster, limit: int = _LOG_BYTES) -> None:
    """Keep the log small: past `limit` bytes it becomes postgres.log.1. The server may go on writing meanwhile."""
    fd = open_file(cluster.log, cluster.account)
    try:
        if os.fstat(fd).st_size > limit:
            old = cluster.log.with_name(f"{cluster.log.name}.1")
            write_file(old, cluster.account, cluster.log.read_text(encoding="utf-8", errors="replace"))
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def read_log_tail(cluster: Cluster) -> str:
    """Return the end of the log for an error message."""
    try:
        written = cluster.log.read_bytes()[-_LOG_TAIL_BYTES:]
    except OSError:
        return ""
    return f"\nThe end of {cluster.log}:\n{written.decode(errors='replace').strip()}"
