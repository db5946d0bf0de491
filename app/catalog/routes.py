"""The configuration over HTTP. Who may use it is declared where the routes are put together."""

from typing import Any

from litestar import get, put
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody

from app.catalog.changes import ConfigChanges
from app.catalog.edit import merge_document, replace_provider
from app.catalog.types import ConfigDocument
from app.db.audit import Actor
from app.errors import NotFoundError

TAGS = ["Configuration"]
CONFIG = ResponseSpec(ConfigDocument, generate_examples=False, description="The whole configuration, keys masked.")


@get("/v1/config", tags=TAGS, status_code=200, responses={200: CONFIG})
async def read_config(changes: NamedDependency[ConfigChanges]) -> dict[str, Any]:
    """Return the configuration.

    Stored keys are masked. `version` counts the changes.
    """
    return await changes.show()


@put("/v1/config", tags=TAGS, status_code=200, responses={200: CONFIG})
async def change_config(
    changes: NamedDependency[ConfigChanges], actor: NamedDependency[Actor], data: JSONBody[dict[str, Any]]
) -> dict[str, Any]:
    """Change the configuration.

    Sections that are not sent stay. Providers and models are replaced as a whole, other sections field by field. A
    masked or missing key keeps the stored one. With `version`, a change made meanwhile is a 409. It holds at once.
    """
    return await changes.apply(actor, lambda document, version: merge_document(document, version, data))


@get("/v1/config/providers", tags=TAGS, status_code=200)
async def list_providers(changes: NamedDependency[ConfigChanges]) -> dict[str, Any]:
    """List the configured providers.

    Keys are masked.
    """
    providers = (await changes.show())["providers"]
    return {"providers": [{"name": name, **entry} for name, entry in providers.items()], "total": len(providers)}


@get("/v1/config/providers/{name:str}", tags=TAGS, status_code=200)
async def read_provider(changes: NamedDependency[ConfigChanges], name: FromPath[str]) -> dict[str, Any]:
    """Return one provider."""
    entry = (await changes.show())["providers"].get(name)
    if entry is None:
        raise NotFoundError(f"There is no provider {name[:64]!r}.", code="provider_not_configured")
    return {"name": name, **entry}


@put("/v1/config/providers/{name:str}", tags=TAGS, status_code=200)
async def change_provider(
    changes: NamedDependency[ConfigChanges],
    actor: NamedDependency[Actor],
    name: FromPath[str],
    data: JSONBody[dict[str, Any]],
) -> dict[str, Any]:
    """Add or change one provider.

    A key that is not sent is kept.
    """
    shown = await changes.apply(actor, lambda document, _: replace_provider(document, name, data))
    return {"name": name, **shown["providers"][name]}


CONFIG_HANDLERS = [read_config, change_config, list_providers, read_provider, change_provider]
