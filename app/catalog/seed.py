"""What the first start puts into the configuration: a YAML file, and the keys found in the environment."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import msgspec
import yaml

from app.catalog.types import ConfigDocument, ModelConfig, ProviderConfig
from app.providers.registry import VENDORS, Vendor

REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class ConfigError(Exception):
    """The configuration cannot be used; the message says where and why."""


def read_config_file(path: Path, environ: Mapping[str, str]) -> ConfigDocument:
    """Return the document of a YAML file, its `${NAME}` and `${NAME:-default}` replaced from `environ`.

    Raises ConfigError naming the file and the place for anything that does not fit.
    """
    try:
        content: object = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from error
    try:
        return check_document(_replace(content if content is not None else {}, environ))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def check_document(content: object) -> ConfigDocument:
    """Return `content` as a document; ConfigError says where it does not fit."""
    try:
        document = msgspec.convert(content, ConfigDocument)
    except msgspec.ValidationError as error:
        raise ConfigError(str(error)) from error
    for name, provider in document.providers.items():
        _check_provider(name, provider)
    for name, model in document.models.items():
        _check_model(name, model, document)
    return document


def read_environment_providers(environ: Mapping[str, str]) -> dict[str, ProviderConfig]:
    """Return the providers whose keys the environment holds, with the base URLs it gives."""
    found: dict[str, ProviderConfig] = {}
    for vendor in VENDORS.values():
        key = next((environ[name] for name in vendor.key_names if environ.get(name)), None)
        if key is not None:
            found[vendor.name] = ProviderConfig(type=vendor.name, base_url=_base_url(vendor, environ), api_key=key)
    return found


def _base_url(vendor: Vendor, environ: Mapping[str, str]) -> str | None:
    url = environ.get(vendor.url_name) if vendor.url_name else None
    if not url:
        return None
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{vendor.url_name} must start with http:// or https://")
    return url.rstrip("/")


def _check_provider(name: str, provider: ProviderConfig) -> None:
    vendor = VENDORS.get(provider.type)
    if vendor is None:
        known = ", ".join(sorted(VENDORS))
        raise ConfigError(f"Unknown type {provider.type!r} - at `$.providers.{name}.type`; known: {known}")
    if provider.base_url is None and vendor.name != "mock" and not all(vendor.base_urls.values()):
        raise ConfigError(f"Object missing required field `base_url` - at `$.providers.{name}`")
    if provider.api_key and provider.api_keys:
        raise ConfigError(f"Give `api_key` or `api_keys`, not both - at `$.providers.{name}.api_keys`")


def _check_model(name: str, model: ModelConfig, document: ConfigDocument) -> None:
    for index, target in enumerate(model.targets):
        if target.provider not in document.providers and target.provider != "mock":
            raise ConfigError(f"Unknown provider {target.provider!r} - at `$.models.{name}.targets[{index}].provider`")


def _replace(value: object, environ: Mapping[str, str]) -> object:
    if isinstance(value, str):
        return REFERENCE.sub(lambda match: _reference(match, environ), value)
    if isinstance(value, dict):
        return {key: _replace(item, environ) for key, item in cast(dict[object, object], value).items()}
    if isinstance(value, list):
        return [_replace(item, environ) for item in cast(list[object], value)]
    return value


def _reference(match: re.Match[str], environ: Mapping[str, str]) -> str:
    name = match.group(1)
    value = environ.get(name, match.group(2)) if match.group(2) is not None else environ.get(name)
    if value is None:
        raise ConfigError(f"the environment variable {name} is not set (write ${{{name}:-}} when it may be empty)")
    return value
