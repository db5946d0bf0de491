"""How thinking travels in OpenAI's dialect: `reasoning_content` shows it, `thinking_blocks` brings it back unharmed.

Neither is OpenAI's own; both are what clients of other gateways already know. A client that sends an answer back as
it got it sends the blocks along, and with them the signatures that the provider wants to see again.
"""

import msgspec

from app.providers.exact_json import Fields
from app.wire.chat import Thinking


class _Block(msgspec.Struct):
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None


def read_thinking(fields: Fields) -> list[Thinking]:
    """Return the thinking of an assistant's message or delta: its blocks, else what is shown of it.

    ValueError for blocks that are none.
    """
    blocks = fields.get("thinking_blocks")
    if blocks:
        return [_read_block(block) for block in msgspec.convert(blocks, list[_Block])]
    shown = fields.get("reasoning_content") or fields.get("reasoning")
    return [Thinking(text=shown)] if shown and isinstance(shown, str) else []


def _read_block(block: _Block) -> Thinking:
    return Thinking(text=block.thinking or "", signature=block.signature, redacted=block.data, id=block.id)


def write_thinking_block(part: Thinking) -> Fields | None:
    """Return the block of a part that must come back as it is; None when its text is all there is."""
    if part.signature is None and part.redacted is None and part.id is None:
        return None
    hidden = part.redacted is not None and not part.text
    block: Fields = {"type": "redacted_thinking"} if hidden else {"type": "thinking", "thinking": part.text}
    named: Fields = {"signature": part.signature, "data": part.redacted, "id": part.id}
    return block | {key: value for key, value in named.items() if value is not None}
