"""Which models can be called: the configured names, the catalogue's, and what providers without one say themselves."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

import msgspec

from app.access.types import Caller
from app.catalog.snapshot import Snapshot
from app.errors import Dialect, NotFoundError, UpstreamFailure
from app.gateway.exchange import JSON, Exchange
from app.gateway.headers import AUTH, build_credential
from app.gateway.options import Sent
from app.gateway.parts import Parts
from app.gateway.paths import Route
from app.providers.registry import Provider
from app.upstream import Limits, Outgoing

ASK_SECONDS = 2.0
KEEP_SECONDS = 60.0
MAX_LISTED = 5000
GROUP_OWNER = "relaycore"
UNKNOWN_TIME = "1970-01-01T00:00:00Z"


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One model with the fields of both vendors: either one's parser finds its own."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str
    type: str = "model"
    display_name: str
    created_at: str = UNKNOWN_TIME


class _Listed(msgspec.Struct):
    id: str


class _List(msgspec.Struct):
    data: list[_Listed] = []


_decode_list = msgspec.json.Decoder(_List).decode
_encode = msgspec.json.Encoder().encode


class ModelLists:
    """What providers outside the catalogue answer on their own `/models`, kept for a minute."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, list[str]]] = {}

    async def find(self, providers: Iterable[Provider], parts: Parts) -> dict[str, list[str]]:
        """Return the names by provider; one that does not answer in time has none."""
        wanted = list(providers)
        found = await asyncio.gather(*(self._find_one(provider, parts) for provider in wanted))
        return {provider.name: names for provider, names in zip(wanted, found, strict=True)}

    async def _find_one(self, provider: Provider, parts: Parts) -> list[str]:
        kept_at, names = self._kept.get(provider.name, (0.0, []))
        if not kept_at or time.monotonic() - kept_at > KEEP_SECONDS:
            names = await ask(provider, parts)
            self._kept[provider.name] = (time.monotonic(), names)
        return names


async def ask(provider: Provider, parts: Parts) -> list[str]:
    """Return the names of a provider's own list; none when it does not answer with one."""
    dialect, base_url = next(iter(provider.base_urls.items()), (Dialect.OPENAI, ""))
    path = "/models" if dialect is Dialect.OPENAI else "/v1/models?limit=1000"
    limits = Limits(
        connect_seconds=ASK_SECONDS,
        first_byte_seconds=ASK_SECONDS,
        idle_seconds=ASK_SECONDS,
        total_seconds=ASK_SECONDS,
        max_body_bytes=4 * 2**20,
    )
    lines = build_credential(Sent(), provider, AUTH[dialect], provider.api_key or "")
    try:
        incoming = await parts.upstream.send(Outgoing(method="GET", url=base_url + path, headers=lines, limits=limits))
        body = await incoming.read()
        return [model.id for model in _decode_list(body).data][:MAX_LISTED] if incoming.status == 200 else []
    except (UpstreamFailure, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []


def name_models(snapshot: Snapshot, catalogue: Mapping[str, list[str]]) -> list[Model]:
    """Return every model by the name that calls it on the unified address, configured names first.

    A vendor's own models go by their bare name where only one provider is of that vendor, all others with the
    provider's name before theirs.
    """
    vendors = [provider.vendor for provider in snapshot.providers.values()]
    found = dict.fromkeys(snapshot.models, GROUP_OWNER)
    for provider in snapshot.providers.values():
        for name in catalogue.get(provider.name, []):
            own = bool(provider.owns) and name.startswith(provider.owns) and vendors.count(provider.vendor) == 1
            found.setdefault(name if own else f"{provider.name}/{name}", provider.name)
    return [Model(id=name, owned_by=owner, display_name=name) for name, owner in found.items()]


async def list_callable(caller: Caller, parts: Parts, lists: ModelLists) -> list[Model]:
    """Return the models that `caller` may call."""
    snapshot = parts.catalog.current
    catalogue = {
        name: parts.catalog.prices.list_models(provider.prices)
        for name, provider in snapshot.providers.items()
        if provider.vendor != "mock"
    }
    unlisted = [snapshot.providers[name] for name in snapshot.providers if not catalogue.get(name)]
    models = name_models(snapshot, catalogue | await lists.find(unlisted, parts))
    if caller.models is None:
        return models
    return [model for model in models if model.id in caller.models or model.id.partition("/")[2] in caller.models]


async def answer_models(route: Route, caller: Caller, exchange: Exchange, parts: Parts, lists: ModelLists) -> None:
    """Answer `GET /v1/models` and `GET /v1/models/{id}`."""
    models = await list_callable(caller, parts, lists)
    wanted = unquote(route.rest.partition("/")[2])
    if not wanted:
        ids = [model.id for model in models]
        listed = {
            "object": "list",
            "data": models,
            "has_more": False,
            "first_id": ids[0] if ids else None,
            "last_id": ids[-1] if ids else None,
        }
        await exchange.reply(200, [JSON], _encode(listed))
        return
    model = find_model(models, wanted)
    if model is None:
        raise NotFoundError(f"There is no model {wanted[:256]!r}.", code="model_not_found", param="model")
    await exchange.reply(200, [JSON], _encode(model))


def find_model(models: Iterable[Model], wanted: str) -> Model | None:
    """Return the model by its name, with or without the provider before it."""
    by_name: dict[str, Model] = {}
    for model in models:
        by_name.setdefault(model.id, model)
        by_name.setdefault(f"{model.owned_by}/{model.id}", model)
    found = by_name.get(wanted)
    return msgspec.structs.replace(found, id=wanted) if found is not None else None
