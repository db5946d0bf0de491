"""The composition root of a web process: what RelayCore is made of, and how the parts are put together."""

import asyncio
import ctypes
import gc
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import cast

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from sqlalchemy.ext.asyncio import AsyncEngine

from app.access.budgets import Budgets
from app.access.directory import Directory
from app.access.guards import check_declared, enforce_policy
from app.access.limits import RateLimiter
from app.access.processes import ProcessLease
from app.access.store import ADMIN_EMAIL, ADMIN_HASH, find_admin, list_changed_keys, load_admin_hash
from app.access.types import Caller
from app.analytics.recorder import Recorder
from app.cache.exact import ExactCache
from app.cache.flight import Flights
from app.cache.idempotent import IdempotentCalls
from app.catalog import vocabulary
from app.catalog.changes import ConfigChanges
from app.catalog.price_store import list_prices
from app.catalog.prices import PriceBook
from app.catalog.snapshot import Catalog
from app.catalog.store import load_config
from app.control import EXCEPTION_HANDLERS, ControlResponse, get_actor
from app.control_routes import CONTROL_ROUTES
from app.db.connection import Connection
from app.db.control import Control
from app.db.engine import open_engine
from app.db.watch import Loader, SnapshotWatch
from app.gateway.cache_scope import find_label_rules
from app.gateway.checks import Checks
from app.gateway.door import Door
from app.gateway.inner import CHECK_TAG, InsideEmbeddings, ask_inside
from app.gateway.parts import Parts
from app.gateway.routes import Gateway
from app.gateway.rules import Routing
from app.health import HEALTH_HANDLERS
from app.mock.server import MockServer
from app.openapi.config import OPENAPI
from app.openapi.money import MoneySchema
from app.openapi.routes import DOCS_HANDLERS
from app.process_keys import ProcessKeys
from app.routing.sharing import HealthSharing
from app.semantic.embedding import LocalVectors, RemoteVectors
from app.semantic.lookup import SemanticCache
from app.semantic.rules import FindRules
from app.settings import Settings, get_database_url, get_secret_key
from app.upstream import Upstream
from app.worker import run_worker

READY_WITHIN_SECONDS = 5.0


def create_app(settings: Settings) -> Litestar:
    """Return the web application of one process.

    `settings` are complete (app.start.prepare): database and secret key are given, schema and seeds are in place.
    Raises UndeclaredRouteError when a route is not in the table of policies.
    """
    app = Door(
        guards=[enforce_policy],
        route_handlers=[*HEALTH_HANDLERS, *DOCS_HANDLERS, *CONTROL_ROUTES],
        lifespan=[partial(live, settings)],
        dependencies={
            "actor": Provide(get_actor, sync_to_thread=False),
            "changes": Provide(get_changes, sync_to_thread=False),
            "control": Provide(get_control, sync_to_thread=False),
            "find_rules": Provide(get_rules_finder, sync_to_thread=False),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        response_class=ControlResponse,
        openapi_config=OPENAPI,
        plugins=[MoneySchema()],
        logging_config=None,
        request_max_body_size=settings.max_body_bytes,
    )
    check_declared(app.routes)
    return app


@asynccontextmanager
async def live(settings: Settings, app: Litestar) -> AsyncGenerator[None, None]:
    """Open the parts, serve, and close them again in the opposite order."""
    async with AsyncExitStack() as stack:
        mock = await open_mock(stack)
        keys = ProcessKeys(get_secret_key(settings))
        catalog = Catalog(keys.vault, f"{mock.url}/v1")
        directory = Directory()
        routing = Routing()
        sharing = open_sharing(settings, routing, stack)
        process = await open_process(settings, stack)
        budgets = await open_budgets(settings, process, stack)
        cache = open_cache(settings, stack)
        inside = InsideEmbeddings()
        semantic = open_semantic(settings, inside, stack)
        shared = {
            "cache": cache.load_clearings,
            "health": sharing.load,
            "budgets": partial(load_budgets, budgets, stack),
        }
        watch = await open_watch(settings, keys, directory, catalog, shared, stack)
        parts = Parts(
            budgets=budgets,
            limiter=open_limiter(settings, process, stack),
            directory=directory,
            catalog=catalog,
            cache=cache,
            flights=Flights(),
            idempotent=open_idempotent(settings, process, stack),
            upstream=open_upstream(settings, stack),
            recorder=await open_recorder(settings, catalog, budgets, stack),
            routing=routing,
            semantic=semantic,
            checks=open_checks(semantic, stack),
            settings=settings,
        )
        inside.parts = app.state.parts = parts
        parts.checks.ask = partial(ask_inside, parts=parts, tag=CHECK_TAG)
        app.state.directory = directory
        engine = open_control_engine(settings, stack)
        app.state.control = Control(engine, keys.auditor, watch.refresh)
        app.state.changes = ConfigChanges(app.state.control, keys.open_vault)
        app.state.readiness = Readiness(watch)
        app.state.metrics = partial(list_metrics, parts)
        run_beside(run_worker(settings), stack)
        cast(Door, app).gateway = Gateway(parts)
        calm_collector()
        yield


async def load_budgets(budgets: Budgets, stack: AsyncExitStack, connection: Connection, version: int) -> None:
    """Read who has a budget; where there is one, calls will be counted, and the first should not wait for the means."""
    await budgets.load(connection, version)
    if budgets.there_are_any and not vocabulary.is_loaded(vocabulary.O200K):
        run_beside(asyncio.to_thread(vocabulary.load), stack)


def get_changes(state: State) -> ConfigChanges:
    """Hand the configuration to the routes that change it."""
    return cast(ConfigChanges, state.changes)


def get_control(state: State) -> Control:
    """Hand the database to the routes of the control plane."""
    return cast(Control, state.control)


def get_rules_finder(state: State) -> FindRules:
    """Hand the rules of likeness of any namespace to the routes that tell how it stands."""
    catalog = cast(Parts, state.parts).catalog
    return lambda label: find_label_rules(label, catalog.current.cache)


class Readiness:
    """Whether this process can serve: it was in touch with its database a moment ago."""

    def __init__(self, watch: SnapshotWatch) -> None:
        self._watch = watch

    def is_ready(self) -> bool:
        """Return whether the snapshots were lately compared with the database."""
        return self._watch.age_seconds < READY_WITHIN_SECONDS


async def open_mock(stack: AsyncExitStack) -> MockServer:
    """Start the built-in provider on a port of its own: the gateway reaches it as it reaches any other."""
    mock = MockServer()
    await mock.start()
    stack.push_async_callback(mock.stop)
    return mock


async def open_watch(
    settings: Settings,
    keys: ProcessKeys,
    directory: Directory,
    catalog: Catalog,
    others: Mapping[str, Loader],
    stack: AsyncExitStack,
) -> SnapshotWatch:
    """Load the snapshots and keep them new."""

    async def load_access(connection: Connection, since: int) -> None:
        given = await keys.load_pepper(connection, directory, settings.admin_key)
        admin_id = await find_admin(connection, ADMIN_EMAIL)
        admin = Caller(user_id=admin_id, key_id=None, admin=True, scope=admin_id.bytes, label="admin key")
        directory.load_admin(admin, given or await load_admin_hash(connection, ADMIN_HASH))
        directory.load(await list_changed_keys(connection, since), everything=since == 0)

    async def load_catalog(connection: Connection, _: int) -> None:
        stored = await load_config(connection)
        await keys.load_vault(connection)
        catalog.load(stored)

    async def load_prices(connection: Connection, _: int) -> None:
        catalog.prices = PriceBook.build(await list_prices(connection))

    loaders = {"access": load_access, "config": load_catalog, "prices": load_prices, **others}
    watch = SnapshotWatch(get_database_url(settings), loaders, keys.process_name)
    stack.push_async_callback(watch.close)
    await watch.start()
    directory.follow(watch.refresh, lambda: watch.age_seconds)
    return watch


async def open_process(settings: Settings, stack: AsyncExitStack) -> ProcessLease:
    """Return this process's lease, which ends when everything else has been closed."""
    process = ProcessLease(get_database_url(settings))
    stack.push_async_callback(process.close)
    await process.start()
    return process


async def open_budgets(settings: Settings, process: ProcessLease, stack: AsyncExitStack) -> Budgets:
    """Return the budgets, which give back what is not used when they close."""
    budgets = Budgets(get_database_url(settings), process)
    stack.push_async_callback(budgets.close)
    await budgets.start()
    return budgets


def open_idempotent(settings: Settings, process: ProcessLease, stack: AsyncExitStack) -> IdempotentCalls:
    """Return the calls with an Idempotency-Key, which save what is not saved yet when they close."""
    calls = IdempotentCalls(get_database_url(settings), process.id)
    stack.push_async_callback(calls.close)
    return calls


def open_limiter(settings: Settings, process: ProcessLease, stack: AsyncExitStack) -> RateLimiter:
    """Return the rate limits, which tell of the calls that ended when they close."""
    limiter = RateLimiter(get_database_url(settings), process.id)
    process.on_loss(limiter.tell_anew)
    stack.push_async_callback(limiter.close)
    return limiter


def open_cache(settings: Settings, stack: AsyncExitStack) -> ExactCache:
    """Return the exact cache, writing behind."""
    cache = ExactCache(get_database_url(settings), settings.local_cache_bytes)
    cache.start()
    stack.push_async_callback(cache.close)
    return cache


def open_semantic(settings: Settings, inside: InsideEmbeddings, stack: AsyncExitStack) -> SemanticCache:
    """Return the semantic cache; its model is loaded when it is first needed."""
    local = LocalVectors(settings.embed_model_path)
    semantic = SemanticCache(
        get_database_url(settings), local, lambda name: RemoteVectors(name, partial(inside.ask, name))
    )
    semantic.start()
    stack.push_async_callback(semantic.close)
    return semantic


def open_checks(semantic: SemanticCache, stack: AsyncExitStack) -> Checks:
    """Return the checks of similar answers, which end with the process."""
    checks = Checks(semantic)
    stack.push_async_callback(checks.close)
    return checks


def open_control_engine(settings: Settings, stack: AsyncExitStack) -> AsyncEngine:
    """Return the control plane's connections."""
    engine = open_engine(get_database_url(settings))
    stack.push_async_callback(engine.dispose)
    return engine


def open_upstream(settings: Settings, stack: AsyncExitStack) -> Upstream:
    """Return the way to the providers."""
    upstream = Upstream(proxies=settings.upstream.proxies, no_proxy=settings.upstream.no_proxy)
    stack.push_async_callback(upstream.close)
    return upstream


async def open_recorder(settings: Settings, catalog: Catalog, budgets: Budgets, stack: AsyncExitStack) -> Recorder:
    """Return the recorder, which flushes when it closes."""
    url, folder = get_database_url(settings), settings.data_dir / "spool"
    recorder = Recorder(url, folder, catalog.find_lines, on_settled=budgets.settled)
    await recorder.start()
    stack.push_async_callback(recorder.close)
    return recorder


def open_sharing(settings: Settings, routing: Routing, stack: AsyncExitStack) -> HealthSharing:
    """Share the health of deployments with the other processes."""
    sharing = HealthSharing(get_database_url(settings), routing.health)
    stack.push_async_callback(sharing.close)
    run_beside(sharing.run(), stack)
    return sharing


def run_beside(work: Coroutine[None, None, None], stack: AsyncExitStack) -> None:
    """Run `work` beside the web traffic until the stack closes."""
    task = asyncio.create_task(work)

    async def stop() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(stop)


def list_metrics(parts: Parts) -> list[tuple[str, str, str, dict[str, str], float]]:
    """Return what this process counts: (name, help, type, labels, value)."""
    stats = parts.recorder.stats
    counted = {"written": stats.written, "spooled": stats.spooled, "replayed": stats.replayed, "dropped": stats.dropped}
    help_text = "Rows of the request record by what became of them."
    rows = [
        ("relaycore_recorded_rows_total", help_text, "counter", {"outcome": name}, float(value))
        for name, value in counted.items()
    ]
    size = float(parts.cache.local.size_bytes)
    return [*rows, ("relaycore_local_cache_bytes", "Bytes of answers held in memory.", "gauge", {}, size)]


def calm_collector() -> None:
    """Have the garbage collector leave alone what lives for ever, and come by less often."""
    gc.collect()
    give_back_memory()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def give_back_memory() -> None:
    """Return to the system what the start needed and nobody uses any more, where the C library can (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
