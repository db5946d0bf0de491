"""Serving until stopped: one process or several, and what is printed for the operator."""

import asyncio
import errno
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import AsyncExitStack, closing, contextmanager
from functools import partial
from types import FrameType

import click
import uvicorn
from litestar import Litestar
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from app.assembly import open_house
from app.db.embedded import EmbeddedPostgres, EmbeddedPostgresError
from app.greeting import write_greeting, write_keys
from app.main import create_app
from app.settings import LOG_FORMAT, Settings, SettingsError
from app.start import Ready, prepare
from app.supervise import keep_at_work
from app.worker import run_worker

Say = Callable[[str], None]

KEEP_ALIVE_SECONDS = 75  # longer than the pools of usual clients and balancers, so that they close first
BACKLOG = 2048
WATCH_SECONDS = 1.0
RETRY_SECONDS = 5.0


def serve(settings: Settings, say: Say) -> None:
    """Prepare, print what the operator needs, and serve until a signal says stop. Blocking."""
    signal.signal(signal.SIGTERM, _exit)
    with bind(settings) as listener, closing(prepare(settings, say)) as ready, watched(ready, say):
        show_keys(ready)
        config = build_server_config(ready.settings)
        address = build_address(settings.host, listener.getsockname()[1])
        greeting = write_greeting(ready, address)
        try:
            if config.workers > 1:
                click.echo(greeting)
                run_workers(config, listener)
            else:
                _Server(config, greeting).run(sockets=[listener])
        except KeyboardInterrupt:
            pass  # the server has drained its connections already
    say("Stopped.")


def show_keys(ready: Ready) -> None:
    """Print the keys that were made just now: nobody can be told them later."""
    for line in write_keys(ready):
        click.echo(line)


def run_workers(config: uvicorn.Config, listener: socket.socket) -> None:
    """Run several processes, each restarted when it dies, until a signal comes or one cannot start at all."""
    supervisor = _Supervisor(config, sockets=[listener])
    supervisor.run()
    if any(worker.process.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
        raise SystemExit(STARTUP_FAILURE)


def create_worker(settings: Settings) -> Litestar:
    """Return the application of one of several processes, which leaves when the one that started it is gone."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    parent = multiprocessing.parent_process()
    if parent is not None:
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format=LOG_FORMAT)
        threading.Thread(target=_leave_after, args=(parent.join,), daemon=True).start()
    return create_app(settings)


class _Supervisor(Multiprocess):
    """uvicorn's supervisor, whose workers hear a Ctrl-C only once they can act on it."""

    def init_processes(self) -> None:
        """Start the workers."""
        with _interrupts_held():
            super().init_processes()

    def keep_subprocess_alive(self) -> None:
        """Replace the workers that have died or hang."""
        with _interrupts_held():
            super().keep_subprocess_alive()


@contextmanager
def _interrupts_held() -> Generator[None, None, None]:
    """Let SIGINT wait, here and in every process that is started meanwhile (which inherits this)."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _leave_after(wait: Callable[[], None]) -> None:
    wait()
    os.kill(os.getpid(), signal.SIGTERM)


def bind(settings: Settings) -> socket.socket:
    """Return the listening socket; clients that come before the application is up wait in its queue."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        where = build_address(settings.host, settings.port)
        other = "--port" if error.errno == errno.EADDRINUSE else "--host and --port"
        raise SettingsError(f"Cannot listen on {where}: {error.strerror}. Choose another with {other}.") from error
    listener.set_inheritable(True)
    return listener


def build_address(host: str, port: int) -> str:
    """Return the base URL that a client on this machine uses."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 - shown, not bound
    return f"http://{shown}:{port}"


@contextmanager
def watched(ready: Ready, say: Say) -> Generator[None, None, None]:
    """Restart the embedded server when it dies, for as long as the context lasts."""
    if ready.embedded is None:
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=_keep_running, args=(ready.embedded, stop, say), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _keep_running(embedded: EmbeddedPostgres, stop: threading.Event, say: Say) -> None:
    while not stop.wait(WATCH_SECONDS):
        try:
            if embedded.ensure_running():
                say("The embedded Postgres had stopped and was started again.")
        except EmbeddedPostgresError as error:
            say(f"The embedded Postgres cannot be started: {error}")
            stop.wait(RETRY_SECONDS)


class _Server(uvicorn.Server):
    """The one-process server; it greets once it answers, and a second Ctrl-C ends the drain but not the records."""

    def __init__(self, config: uvicorn.Config, greeting: str) -> None:
        super().__init__(config)
        self._greeting = greeting

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            click.echo(self._greeting)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal; at the next cut off what still runs."""
        if self.should_exit:
            for task in list(self.server_state.tasks):
                task.get_loop().call_soon_threadsafe(task.cancel)
        else:
            super().handle_exit(sig, frame)


def _exit(number: int, frame: FrameType | None) -> None:
    """Leave by the same way as everything else, so that the embedded server is stopped."""
    del number, frame
    raise SystemExit(0)


def work(settings: Settings, say: Say) -> None:
    """Prepare, and work on jobs and batches until a signal says stop. Blocking."""
    with closing(prepare(settings, say)) as ready, watched(ready, say):
        show_keys(ready)
        say("Working on jobs and batches; Ctrl-C stops.")
        keep_at_work(partial(work_in_child, ready.settings), say)


def work_in_child(settings: Settings) -> None:
    """Work in a process of its own until SIGTERM. Blocking."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format=LOG_FORMAT)
    asyncio.run(_work_until_stopped(settings))


async def _work_until_stopped(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        house = await open_house(settings, stack)
        task = asyncio.create_task(run_worker(settings, house.parts))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await asyncio.gather(task, return_exceptions=True)


def build_server_config(settings: Settings) -> uvicorn.Config:
    """Return the server's configuration; every process builds its own application from `settings`."""
    return uvicorn.Config(
        partial(create_worker, settings),
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.drain_seconds,
    )
