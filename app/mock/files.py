"""OpenAI's files: uploaded as multipart forms, kept in memory."""

import re
import time
from typing import Any

from app.mock.asgi import Reply, Request, build_json
from app.mock.errors import MockError
from app.mock.models import paginate
from app.mock.state import State

_NAME = re.compile(rb'[; ]name="([^"]*)"')
_FILENAME = re.compile(rb'[; ]filename="([^"]*)"')


def read_form(body: bytes, content_type: bytes) -> dict[str, tuple[str | None, bytes]]:
    """Return the parts of a multipart form: name to (file name, content)."""
    boundary = re.search(rb'boundary="?([^";]+)', content_type)
    if boundary is None:
        raise MockError("The request must be a multipart form.")
    parts: dict[str, tuple[str | None, bytes]] = {}
    marked = b"\r\n" + body
    for part in marked.split(b"\r\n--" + boundary[1])[1:]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name, filename = _NAME.search(head), _FILENAME.search(head)
        if name is not None:
            parts[name[1].decode()] = (filename[1].decode() if filename else None, content)
    return parts


def store_file(state: State, filename: str, purpose: str, content: bytes) -> dict[str, Any]:
    """Keep a file and return its object."""
    file = {
        "id": state.new_id("file-"),
        "object": "file",
        "bytes": len(content),
        "created_at": int(time.time()),
        "expires_at": None,
        "filename": filename,
        "purpose": purpose,
        "status": "processed",
        "status_details": None,
    }
    state.files.put(str(file["id"]), (file, content))
    return file


def upload(request: Request, state: State) -> Reply:
    """Answer POST /v1/files."""
    form = read_form(request.body, request.headers.get(b"content-type", b""))
    for field in ("file", "purpose"):
        if field not in form:
            raise MockError(f"Missing required parameter: '{field}'.", param=field, kind="missing_required_parameter")
    filename, content = form["file"]
    return build_json(store_file(state, filename or "file", form["purpose"][1].decode(), content))


def find_file(key: str, state: State) -> tuple[dict[str, Any], bytes]:
    """Return a file's object and content, or refuse."""
    if key not in state.files:
        raise MockError(f"No such File object: {key}", status=404, param="id", kind="not_found")
    return state.files[key]


def list_files(request: Request, state: State) -> Reply:
    """Answer GET /v1/files."""
    purpose = request.query.get("purpose")
    ids = [key for key, (file, _) in state.files.items() if purpose in {None, file["purpose"]}]
    ids, has_more = paginate(ids, request)
    return build_json(build_page([state.files[key][0] for key in ids], has_more))


def build_page(objects: list[dict[str, Any]], has_more: bool) -> dict[str, Any]:
    """Return OpenAI's list envelope."""
    first, last = (objects[0]["id"], objects[-1]["id"]) if objects else (None, None)
    return {"object": "list", "data": objects, "first_id": first, "last_id": last, "has_more": has_more}


def get(request: Request, state: State) -> Reply:
    """Answer GET /v1/files/{id}."""
    return build_json(find_file(request.get_segment(2), state)[0])


def get_content(request: Request, state: State) -> Reply:
    """Answer GET /v1/files/{id}/content."""
    _, content = find_file(request.get_segment(2), state)
    return Reply(headers=((b"content-type", b"application/octet-stream"),), body=content)


def delete(request: Request, state: State) -> Reply:
    """Answer DELETE /v1/files/{id}."""
    file, _ = find_file(request.get_segment(2), state)
    del state.files[file["id"]]
    return build_json({"id": file["id"], "object": "file", "deleted": True})
