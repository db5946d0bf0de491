"""How thinking travels in OpenAI's dialect: `reasoning_content` shows it, `thinking_blocks` brings it back unharmed.

Neither is OpenAI's own; both are what clients of other gateways already know. A client that sends an answer back as
it got it sends the blocks along, and with them the signatures that the provider wants to see again.
"""

from app.providers.exact_json import Fields
from app.translation.reading import as_object, at, get_list, get_text
from app.wire.chat import Thinking


def read_thinking(fields: Fields, path: str) -> list[Thinking]:
    """Return the thinking of an assistant's message: its blocks, else what was shown of it."""
    blocks = get_list(fields, "thinking_blocks", path)
    if blocks:
        here = at(path, "thinking_blocks")
        return [_read_block(as_object(item, at(here, index)), at(here, index)) for index, item in enumerate(blocks)]
    shown = fields.get("reasoning_content") or fields.get("reasoning")
    return [Thinking(text=shown)] if isinstance(shown, str) else []


def _read_block(block: Fields, path: str) -> Thinking:
    return Thinking(
        text=get_text(block, "thinking", path) or "",
        signature=get_text(block, "signature", path),
        redacted=get_text(block, "data", path),
        id=get_text(block, "id", path),
    )


def write_thinking_block(part: Thinking) -> Fields | None:
    """Return the block of a part that must come back as it is; None when its text is all there is."""
    if part.signature is None and part.redacted is None and part.id is None:
        return None
    hidden = part.redacted is not None and not part.text
    block: Fields = {"type": "redacted_thinking"} if hidden else {"type": "thinking", "thinking": part.text}
    named: Fields = {"signature": part.signature, "data": part.redacted, "id": part.id}
    return block | {key: value for key, value in named.items() if value is not None}
