"""The bodies of Anthropic's messages: the fields that change the mock's answer."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Block = dict[str, Any]


class InputMessage(msgspec.Struct):
    """One turn of the conversation."""

    role: Literal["user", "assistant"]
    content: str | list[Block]


class CountBody(msgspec.Struct):
    """What is counted: everything that goes into the model."""

    model: str
    messages: Annotated[list[InputMessage], Meta(min_length=1)]
    system: str | list[Block] | None = None
    tools: list[Block] | None = None
    tool_choice: Block | None = None
    thinking: Block | None = None


class MessageBody(CountBody, kw_only=True):
    """The fields of a message that change the mock's answer; others are accepted unread."""

    max_tokens: Annotated[int, Meta(ge=1)]
    stream: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    stop_sequences: list[str] | None = None
    output_config: Block | None = None
    metadata: Block | None = None
