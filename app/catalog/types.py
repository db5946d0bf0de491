"""The configuration document: what an operator may set, with its defaults and bounds."""

from typing import Annotated

import msgspec
from msgspec import Meta

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
Url = Annotated[str, Meta(pattern=r"^https?://[^\s/]+", max_length=2048)]

MASK = "********"
"""What is shown in place of a stored secret."""


MAPS = frozenset({"providers"})
"""The sections with named entries, which are replaced as a whole."""


class ProviderConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One provider. `type` names a vendor row; `base_url` overrides the vendor's.

    `api_key` is only ever read in: it is stored encrypted beside the document and shown masked.
    """

    type: Name
    base_url: Url | None = None
    api_key: str | None = None


class CacheConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The exact cache. Times are whole seconds."""

    enabled: bool = True
    default_ttl: Annotated[int, Meta(ge=0, le=31_536_000)] = 3600
    max_ttl: Annotated[int, Meta(ge=0, le=31_536_000)] = 30 * 86_400
    max_entry_bytes: Annotated[int, Meta(ge=1024, le=64 * 2**20)] = 4 * 2**20


class ConfigDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be configured while running; one document, validated whole."""

    providers: dict[Name, ProviderConfig] = {}
    cache: CacheConfig = CacheConfig()
