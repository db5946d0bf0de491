"""What may be said of the caches for one key, one namespace or one call."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

# Patterns end with this, since "$" lets a newline follow.
_END = r"(?![\s\S])"

ScopeKind = Literal["key", "user", "team", "organization"]
SCOPE_KINDS: tuple[ScopeKind, ...] = ("key", "user", "team", "organization")
"""Who may share an answer, narrowest first."""

NAMESPACE = "namespace:"
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
NamespaceName = Annotated[str, Meta(pattern=rf"^{NAME_PATTERN}{_END}")]
ScopeText = Annotated[str, Meta(pattern=rf"^(key|user|team|organization|namespace:{NAME_PATTERN}){_END}")]
"""A scope as it is written: one of SCOPE_KINDS, or a namespace by its name."""

Unproven = Literal["nothing", "same_words", "everything"]
"""What a namespace serves of similar answers before its own checks say enough."""

Floor = Annotated[float, Meta(ge=0.8, le=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Turns = Annotated[int, Meta(ge=1, le=100)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
LOCAL_EMBEDDER = "local"
Embedder = Annotated[str, Meta(min_length=1, max_length=256, pattern=rf"^(local|[^\s/]+/[^\s\x00-\x1f\x7f]+){_END}")]


class SemanticRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What differs from the configured semantic cache for one namespace or one key; None: as configured."""

    enabled: bool | None = None
    floor: Floor | None = None
    error_budget: Share | None = None
    check_share: Share | None = None
    max_turns: Turns | None = None
    max_temperature: Temperature | None = None
    allow_tools: bool | None = None
    allow_images: bool | None = None
    allow_n: bool | None = None
    unproven: Unproven | None = None


class SemanticConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The semantic cache. Namespaces, keys and single calls differ in all but `embedder`, `confidence` and `checks`.

    `error_budget`: similar answers are served only while it is certain to the degree of `confidence` that at most this
    share of them is wrong. `check_share`: the part of them whose provider is asked all the same, behind the client's
    back, to find that out. `max_turns`: how many turns of the user a conversation may have. A call that names no
    temperature counts as one with the providers' default, 1. `allow_*`: take part in calls with tools, with pictures or
    files, for several answers. `embedder`: "local", or the provider and name of an embeddings model. `checks`: whether
    the provider is asked at once, or by a batch, which costs less where there are any and takes longer.
    """

    enabled: bool = False
    embedder: Embedder = "local"
    floor: Floor = 0.92
    error_budget: Share = 0.01
    confidence: Annotated[float, Meta(ge=0.5, lt=1)] = 0.95
    check_share: Share = 0.05
    checks: Literal["direct", "batch"] = "direct"
    max_turns: Turns = 1
    max_temperature: Temperature = 0.0
    allow_tools: bool = False
    allow_images: bool = False
    allow_n: bool = False
    unproven: Unproven = "same_words"
