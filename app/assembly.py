"""Opens the parts of a process, the web's or a worker's; each closes with the stack that it was opened on."""

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from functools import partial

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from app.access.budgets import Budgets
from app.access.directory import Directory
from app.access.limits import RateLimiter
from app.access.processes import ProcessLease
from app.access.store import ADMIN_EMAIL, ADMIN_HASH, find_admin, list_changed_keys, load_admin_hash
from app.access.types import Caller
from app.analytics.recorder import Recorder
from app.batch.desk import Desk
from app.cache.exact import ExactCache
from app.cache.flight import Flights
from app.cache.idempotent import IdempotentCalls
from app.catalog import vocabulary
from app.catalog.price_store import list_prices
from app.catalog.prices import PriceBook
from app.catalog.snapshot import Catalog
from app.catalog.store import load_config
from app.db.connection import Connection
from app.db.engine import open_engine
from app.db.watch import Loader, SnapshotWatch
from app.gateway.checks import Checks
from app.gateway.inner import CHECK_TAG, InsideEmbeddings, ask_inside
from app.gateway.parts import Parts
from app.gateway.rules import Routing
from app.gateway.traffic import Traffic
from app.mock.server import MockServer
from app.process_keys import ProcessKeys
from app.routing.sharing import HealthSharing
from app.semantic.embedding import LocalVectors, RemoteVectors
from app.semantic.lookup import SemanticCache
from app.semantic.reembedding import Reembedding
from app.settings import Settings, get_database_url, get_secret_key
from app.upstream import Upstream


class House(msgspec.Struct, frozen=True, kw_only=True):
    """What every process of RelayCore has: the parts of the gateway, the keys it works with, and its view of news."""

    parts: Parts
    keys: ProcessKeys
    watch: SnapshotWatch


async def open_house(settings: Settings, stack: AsyncExitStack) -> House:
    """Open everything that calls are made with."""
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
        traffic=Traffic(),
        settings=settings,
    )
    inside.parts = parts
    parts.checks.ask = partial(ask_inside, parts=parts, tag=CHECK_TAG)
    return House(parts=parts, keys=keys, watch=watch)


async def load_budgets(budgets: Budgets, stack: AsyncExitStack, connection: Connection, version: int) -> None:
    """Read who has a budget; where there is one, calls will be counted, and the first should not wait for the means."""
    await budgets.load(connection, version)
    if budgets.there_are_any and not vocabulary.is_loaded(vocabulary.O200K):
        run_beside(asyncio.to_thread(vocabulary.load), stack)


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


def open_desk(settings: Settings, parts: Parts, stack: AsyncExitStack) -> Desk:
    """Return where batches are handed in."""
    desk = Desk(get_database_url(settings), parts)
    stack.push_async_callback(desk.close)
    return desk


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


async def tend_vectors(settings: Settings, parts: Parts) -> None:
    """Have the model ready where it will be needed, and keep stored questions in the vectors of the one in use."""
    caching = parts.catalog.current.cache
    if caching.semantic.enabled or any(one.semantic.enabled for one in caching.namespaces.values()):
        await parts.semantic.find_embedder(caching.semantic.embedder)
    url = get_database_url(settings)
    await Reembedding(url, parts.semantic, lambda: parts.catalog.current.cache.semantic.embedder).run()
