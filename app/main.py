"""The composition root of a web process: what RelayCore is made of, and how the parts are put together."""

import asyncio
import ctypes
import gc
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import cast

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide

from app.access.guards import check_declared, enforce_policy
from app.assembly import open_control_engine, open_desk, open_house, run_beside, tend_vectors
from app.batch.checking import ask_by_batch
from app.batch.desk import Desk
from app.batch.vendors.door import LaterDoor
from app.catalog.changes import ConfigChanges
from app.control import EXCEPTION_HANDLERS, ControlResponse, get_actor, note_request
from app.control_routes import CONTROL_ROUTES
from app.dashboard.routes import DASHBOARD_HANDLERS
from app.db.control import Control
from app.db.watch import SnapshotWatch
from app.gateway.cache_scope import find_label_rules
from app.gateway.door import Door
from app.gateway.parts import Parts
from app.gateway.routes import Gateway
from app.health import HEALTH_HANDLERS
from app.openapi.config import OPENAPI
from app.openapi.money import MoneySchema
from app.openapi.routes import DOCS_HANDLERS
from app.semantic.rules import FindRules
from app.settings import Settings
from app.worker import run_worker

READY_WITHIN_SECONDS = 5.0


def create_app(settings: Settings) -> Litestar:
    """Return the web application of one process.

    `settings` are complete (app.start.prepare): database and secret key are given, schema and seeds are in place.
    Raises UndeclaredRouteError when a route is not in the table of policies.
    """
    app = Door(
        guards=[enforce_policy],
        route_handlers=[*HEALTH_HANDLERS, *DOCS_HANDLERS, *DASHBOARD_HANDLERS, *CONTROL_ROUTES],
        lifespan=[partial(live, settings)],
        dependencies={
            "actor": Provide(get_actor, sync_to_thread=False),
            "changes": Provide(get_changes, sync_to_thread=False),
            "control": Provide(get_control, sync_to_thread=False),
            "desk": Provide(get_desk, sync_to_thread=False),
            "find_rules": Provide(get_rules_finder, sync_to_thread=False),
            "settle": Provide(get_settling, sync_to_thread=False),
        },
        after_request=note_request,
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
        house = await open_house(settings, stack)
        parts, keys = house.parts, house.keys
        app.state.parts = parts
        app.state.directory = parts.directory
        engine = open_control_engine(settings, stack)
        app.state.control = Control(engine, keys.auditor, house.watch.refresh)
        app.state.changes = ConfigChanges(app.state.control, keys.open_vault)
        app.state.desk = open_desk(settings, parts, stack)
        parts.checks.ask_later = partial(ask_by_batch, desk=app.state.desk)
        app.state.readiness = Readiness(house.watch)
        app.state.metrics = partial(list_metrics, parts)
        run_beside(run_worker(settings, parts), stack)
        run_beside(tend_vectors(settings, parts), stack)
        cast(Door, app).gateway = Gateway(parts, LaterDoor(app.state.desk))
        calm_collector()
        yield


def get_changes(state: State) -> ConfigChanges:
    """Hand the configuration to the routes that change it."""
    return cast(ConfigChanges, state.changes)


def get_control(state: State) -> Control:
    """Hand the database to the routes of the control plane."""
    return cast(Control, state.control)


def get_desk(state: State) -> Desk:
    """Hand the batches to the routes that take them in and show them."""
    return cast(Desk, state.desk)


def get_rules_finder(state: State) -> FindRules:
    """Hand the rules of likeness of any namespace to the routes that tell how it stands."""
    catalog = cast(Parts, state.parts).catalog
    return lambda label: find_label_rules(label, catalog.current.cache)


def get_settling(state: State) -> Callable[[], Awaitable[None]]:
    """Hand a way to have written what the caches write behind to the routes that change it."""
    parts = cast(Parts, state.parts)

    async def settle() -> None:
        await asyncio.gather(parts.cache.flush(), parts.semantic.log.flush())

    return settle


class Readiness:
    """Whether this process can serve: it was in touch with its database a moment ago."""

    def __init__(self, watch: SnapshotWatch) -> None:
        self._watch = watch

    def is_ready(self) -> bool:
        """Return whether the snapshots were lately compared with the database."""
        return self._watch.age_seconds < READY_WITHIN_SECONDS


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
