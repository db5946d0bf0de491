"""Bringing the stored configuration in line with what a start was given: a file, or keys in the environment."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
from sqlalchemy import Connection

from app.catalog.changes import store_document
from app.catalog.secrets import Vault
from app.catalog.seed import read_config_file, read_environment_providers
from app.catalog.store import (
    find_file_import,
    find_newest_document,
    has_new_key,
    lock_config,
    without_keys,
)
from app.catalog.types import ConfigDocument
from app.db.audit import Actor, Auditor
from app.db.control import Change

ENVIRONMENT, FILE = "environment", "file"
ACTORS = {ENVIRONMENT: "environment", FILE: "config file"}


def seed_config(
    connection: Connection, vault: Vault, auditor: Auditor, path: Path | None, environ: Mapping[str, str]
) -> str | None:
    """Store a new version when the file or the environment says something new; return where it came from, else None.

    A file is imported when it differs from what it said the last time, so that changes made through the API stay until
    the file itself changes. Without a file, keys of the environment fill an empty configuration and go on being
    followed until somebody else changes the configuration; one that is no longer set stays as it was stored.
    """
    lock_config(connection)
    newest = find_newest_document(connection)
    if path is not None:
        document, origin = read_config_file(path, environ), FILE
        if not document.providers:
            document = msgspec.structs.replace(document, providers=read_environment_providers(environ))
        last = find_file_import(connection)
    else:
        if newest is not None and newest[0] != ENVIRONMENT:
            return None
        last, origin = newest[1] if newest is not None else ConfigDocument(), ENVIRONMENT
        document = ConfigDocument(providers={**last.providers, **read_environment_providers(environ)})
    if last == without_keys(document) and not has_new_key(connection, vault, document):
        return None
    actor = Actor(label=ACTORS[origin])
    store_document(Change(connection, actor, auditor), document, vault, origin=origin)
    return origin
