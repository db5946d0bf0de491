"""`python -m app.mock --port 9100`: the mock provider in a process of its own."""

import argparse
import asyncio
import gc
import signal
import sys

import uvloop

from app.mock.server import MockServer


async def _serve(port: int) -> None:
    server = MockServer()
    await server.start(port)
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    gc.collect()
    gc.freeze()
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
    await ended.wait()
    await server.stop()


def main() -> None:
    """Serve until interrupted; the first line on standard output is the URL."""
    parser = argparse.ArgumentParser(prog="python -m app.mock", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    uvloop.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
