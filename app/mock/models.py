"""The list of models, in OpenAI's and in Anthropic's shape."""

from typing import Any

from app.mock.asgi import Reply, Request, build_json
from app.mock.directives import MAGIC_MODELS, find_model, strip_prefix
from app.mock.errors import MockError, Vendor
from app.mock.state import State

_CREATED = 1_767_225_600
_CREATED_AT = "2026-01-01T00:00:00Z"

_REAL = ("gpt-4o", "gpt-4o-mini", "gpt-5", "o3-mini", "text-embedding-3-small", "text-embedding-3-large")
_CLAUDE = ("claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5")
_NAMES = (*MAGIC_MODELS, *_REAL, *_CLAUDE)


def _show_openai(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "mock"}


def _show_anthropic(name: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": name.replace("-", " ").title(),
        "created_at": _CREATED_AT,
        "lifecycle": "active",
        "max_input_tokens": 200_000,
        "max_tokens": 64_000,
    }


def list_models(request: Request, state: State) -> Reply:  # noqa: ARG001 - a handler's signature
    """Answer GET /v1/models."""
    if request.vendor is Vendor.OPENAI:
        return build_json({"object": "list", "data": [_show_openai(name) for name in _NAMES]})
    names, has_more = paginate(list(_NAMES), request)
    return build_json(
        {
            "data": [_show_anthropic(name) for name in names],
            "has_more": has_more,
            "first_id": names[0] if names else None,
            "last_id": names[-1] if names else None,
        }
    )


def paginate(ids: list[str], request: Request) -> tuple[list[str], bool]:
    """Return the page of `ids` that `after_id` (or OpenAI's `after`) and `limit` ask for, and whether more follow."""
    after = request.query.get("after_id") or request.query.get("after")
    if after in ids:
        ids = ids[ids.index(after) + 1 :]
    limit = request.query.get("limit", "20")
    if not limit.isdigit() or not 1 <= int(limit) <= 10_000:
        raise MockError("limit: Input should be a number from 1 to 10000", param="limit")
    return ids[: int(limit)], len(ids) > int(limit)


def get_model(request: Request, state: State) -> Reply:  # noqa: ARG001 - a handler's signature
    """Answer GET /v1/models/{id}; the id may contain slashes."""
    name = strip_prefix(request.path.removeprefix("/v1/models/"))
    if find_model(name) is None:
        raise MockError(f"The model '{name}' does not exist.", status=404, param="model")
    return build_json(_show_openai(name) if request.vendor is Vendor.OPENAI else _show_anthropic(name))
