"""Bodies that are read and written piece by piece, of which the framework knows nothing: described by their types."""

from typing import Any, Literal, NamedTuple

import msgspec

from app.batch.own_shape import BatchRequest, BatchResult, BatchView
from app.openapi.operations import Json

SCHEMAS = "#/components/schemas/{name}"


class BatchWithResults(BatchView, frozen=True, kw_only=True):
    """A batch as it stands; `result` is null while it is not over."""

    result: list[BatchResult] | None


class Streamed(NamedTuple):
    """What a route takes or answers, and the statuses that it answers with beside the usual ones."""

    path: str
    method: str
    where: Literal["request", "answer"]
    type: Any
    media: str = "application/json"
    refusals: tuple[str, ...] = ()


STREAMED = (
    Streamed("/v1/batch", "post", "request", BatchRequest, refusals=("402", "404", "408", "422")),
    Streamed("/v1/batch/{batch_id}", "get", "answer", BatchWithResults),
    Streamed("/v1/batch/{batch_id}/results", "get", "answer", BatchResult, media="application/x-ndjson"),
)


def describe_streamed(paths: Json, schemas: Json) -> None:
    """Put what is known of these bodies into the operations of a document, and their types into its schemas."""
    known = [one for one in STREAMED if one.path in paths]
    shapes, components = msgspec.json.schema_components([one.type for one in known], ref_template=SCHEMAS)
    for name, schema in components.items():
        schemas.setdefault(name, schema)
    for one, shape in zip(known, shapes, strict=True):
        operation = paths[one.path][one.method]
        content = {one.media: {"schema": shape}}
        if one.where == "request":
            operation["requestBody"] = {"required": True, "content": content}
        else:
            operation["responses"]["200"]["content"] = content
        for status in one.refusals:
            operation["responses"].setdefault(status, {"$ref": f"#/components/responses/Control{status}"})
