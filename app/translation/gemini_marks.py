"""What tells Gemini's own: its thought signatures among those of other providers, and its models' generations."""

import re

SIGNATURE = "gemini:"
"""How the signature of a thinking part begins that is Gemini's.

A thinking part without text carries the signature of the text before it. Signatures of tool calls stay with the calls.
"""

UNSIGNED = "skip_thought_signature_validator"
"""What Google documents as the signature of a call that Gemini did not make itself."""

_GENERATION = re.compile(r"gemini-(\d{1,3})")


def is_older_generation(model: str) -> bool:
    """Return whether a model is from before Gemini 3: thinking is counted in tokens, and calls need no signature."""
    found = _GENERATION.search(model)
    return found is not None and int(found[1]) < 3


def is_gemini(signature: str | None) -> bool:
    """Return whether the signature of a thinking part is Gemini's."""
    return signature is not None and signature.startswith(SIGNATURE)
