"""Canonical events as a Messages stream for a client: one block after the other, one ending."""

from app.errors import BadGatewayError, Dialect, RelayError, write_error_event
from app.providers.exact_json import Fields, write_exact
from app.providers.sse import write_event
from app.translation.anthropic_ids import write_id
from app.translation.anthropic_reply import open_message, write_reason, write_thinking, write_usage
from app.wire.chat import (
    ChatCall,
    Delta,
    End,
    Event,
    Failed,
    Finished,
    PartEnd,
    PartStart,
    Refusal,
    Start,
    Text,
    Thinking,
    ToolUse,
    Used,
)
from app.wire.usage import Usage

_DELTAS = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking")}
_INPUT = ("input_json_delta", "partial_json")


class AnthropicWriter:
    """Writes the events of the first choice.

    Blocks of this dialect neither overlap nor skip a number: what comes for another part than the open one waits until
    that one is complete.
    """

    __slots__ = ("_done", "_finish", "_open", "_refused", "_signature", "_waiting", "_model", "_next", "_usage")
