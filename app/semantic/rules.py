"""Which rules of likeness hold for one call."""

from collections.abc import Callable

import msgspec

from app.wire.caching import SemanticConfig, SemanticRules

FindRules = Callable[[str], SemanticConfig]
"""Tells the rules that hold in a namespace, by its label."""


def narrow_rules(config: SemanticConfig, *overrides: SemanticRules | None) -> SemanticConfig:
    """Return `config` with what `overrides` say in place of its own, later ones over earlier ones."""
    said = {
        name: value
        for rules in overrides
        if rules is not None
        for name, value in msgspec.structs.asdict(rules).items()
        if value is not None
    }
    return msgspec.structs.replace(config, **said) if said else config
