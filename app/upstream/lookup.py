"""Finds the addresses of hosts that strangers name, in threads of its own: a slow name server holds up no call."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

from app.upstream.request import build_failure

_THREADS = ThreadPoolExecutor(16, thread_name_prefix="relaycore lookup")


async def find_addresses(host: str, port: int) -> list[str]:
    """Return every address of a host, best first; UpstreamFailure when it has none."""
    ask = asyncio.get_running_loop().run_in_executor(_THREADS, _look_up, host, port)
    try:
        return await ask
    except (OSError, UnicodeError) as error:
        raise build_failure("connect") from error


def _look_up(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(line[4][0]) for line in found))
