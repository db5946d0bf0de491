"""Changing the configuration: what a client sends, merged with what is there, checked whole. No I/O."""

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from app.catalog.seed import ConfigError, check_document
from app.catalog.types import MAPS, MASK, PARTS, ConfigDocument, ProviderConfig
from app.errors import ConflictError, build_misfit

VERSION = "version"


def merge_document(current: ConfigDocument, version: int, change: Mapping[str, Any]) -> ConfigDocument:
    """Return `current` with the sections of `change` in place of its own.

    A section that is not sent stays; of a section with named entries (providers) all are replaced, of the others only
    the fields that are sent. A masked or missing key keeps the stored one. Raises BadRequestError saying where
    something does not fit, ConflictError when `change` says a version that is not the newest any more.
    """
    stated = change.get(VERSION, version)
    if stated != version:
        raise ConflictError(f"The configuration is at version {version} now, not {stated}.", param=VERSION)
    merged: dict[str, Any] = msgspec.to_builtins(current)
    for section, value in change.items():
        if section == VERSION:
            continue
        merged[section] = value if section in MAPS else _merge_fields(merged.get(section), value)
    return check_change(merged)


def replace_provider(current: ConfigDocument, name: str, entry: Mapping[str, Any]) -> ConfigDocument:
    """Return `current` with the provider `name` as `entry` says; BadRequestError when it does not fit."""
    merged: dict[str, Any] = msgspec.to_builtins(current)
    merged["providers"] = {**merged.get("providers", {}), name: dict(entry)}
    return check_change(merged)


def check_change(content: object) -> ConfigDocument:
    """Return `content` as a document without masks in the place of keys."""
    try:
        document = check_document(content)
    except ConfigError as error:
        raise build_misfit(str(error), "The configuration does not fit: ") from error
    providers = {name: _unmask(entry) for name, entry in document.providers.items()}
    return msgspec.structs.replace(document, providers=providers)


def show_document(document: ConfigDocument, version: int, with_keys: frozenset[str]) -> dict[str, Any]:
    """Return what a client is shown: everything, with a mask where a key is stored."""
    shown: dict[str, Any] = msgspec.to_builtins(document)
    shown["providers"] = {
        name: show_provider(entry, has_key=name in with_keys) for name, entry in document.providers.items()
    }
    return {VERSION: version, **shown}


def show_provider(entry: ProviderConfig, *, has_key: bool) -> dict[str, Any]:
    """Return one provider as a client is shown it."""
    shown: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(entry, api_key=None, api_keys=None))
    return {**shown, "api_key": MASK} if has_key else shown


def _merge_fields(old: object, new: object) -> object:
    """Return `old` with the fields of `new` in place of its own; anything but two objects is replaced."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    merged = cast(dict[str, Any], old)
    given = cast(dict[str, Any], new)
    return {
        **merged,
        **{name: _merge_fields(merged.get(name), value) if name in PARTS else value for name, value in given.items()},
    }


def _unmask(entry: ProviderConfig) -> ProviderConfig:
    if MASK in entry.keys:
        return msgspec.structs.replace(entry, api_key=None, api_keys=None)
    return entry
