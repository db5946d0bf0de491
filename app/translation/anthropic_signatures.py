"""How the signature of a tool call (Gemini's) travels through clients of Anthropic's dialect, which knows none.

It is the signature of an empty thinking block just before the call: clients send thinking back as they got it.
"""

from collections.abc import Iterable

import msgspec

from app.wire.chat import Part, Thinking, ToolUse

_MARK = "tool_use."


def carry_signature(use: ToolUse) -> Thinking | None:
    """Return the thinking that brings the signature of a call, None for a call without one."""
    return None if use.signature is None else Thinking(signature=_MARK + use.signature)


def sign_calls(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Give the calls back the signatures that travelled before them."""
    signature: str | None = None
    signed: list[Part] = []
    for part in parts:
        if isinstance(part, Thinking) and _find_carried(part) is not None:
            signature = _find_carried(part)
        elif isinstance(part, ToolUse) and signature is not None:
            signed.append(msgspec.structs.replace(part, signature=signature))
            signature = None
        else:
            signed.append(part)
    return tuple(signed)


def _find_carried(part: Thinking) -> str | None:
    if part.text or part.signature is None or not part.signature.startswith(_MARK):
        return None
    return part.signature.removeprefix(_MARK)
