"""One chat call and its reply in no vendor's words: what dialects are translated through.

JSON that only travels (schemas, tool arguments, logprobs) stays the bytes or text it came as.
"""

from typing import Literal

import msgspec

from app.wire.usage import Usage

Json = msgspec.Raw


class Cache(msgspec.Struct, frozen=True, kw_only=True):
    """A mark where the provider's prompt cache may end a prefix; `ttl` as the client wrote it ("5m", "1h")."""

    ttl: str | None = None


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where the bytes of an image or a file are: exactly one of `url`, `data` (base64), `text` and `file_id` is set."""

    url: str | None = None
    data: str | None = None
    text: str | None = None
    file_id: str | None = None
    media_type: str | None = None


class Text(msgspec.Struct, frozen=True, kw_only=True, tag="text"):
    """A piece of text."""

    text: str
    cache: Cache | None = None


class Image(msgspec.Struct, frozen=True, kw_only=True, tag="image"):
    """A picture; `detail` is OpenAI's hint."""

    source: Source
    detail: str | None = None
    cache: Cache | None = None


class Document(msgspec.Struct, frozen=True, kw_only=True, tag="document"):
    """A file to be read, such as a PDF; `context` and `citations` (whether to cite it) are Anthropic's."""

    source: Source
    name: str | None = None
    context: str | None = None
    citations: bool | None = None
    cache: Cache | None = None


class Audio(msgspec.Struct, frozen=True, kw_only=True, tag="audio"):
    """Sound, base64; `format` names its coding ("wav", "mp3")."""

    data: str
    format: str


class ToolUse(msgspec.Struct, frozen=True, kw_only=True, tag="tool_use"):
    """The model's call of a tool. `arguments` is JSON text of an object ("" while a stream has sent none).

    `custom`: the tool takes free text, and `arguments` is that text. `signature` belongs to the provider (Gemini's
    thought signature) and must come back with the call.
    """

    id: str
    name: str
    arguments: str
    custom: bool = False
    signature: str | None = None
    cache: Cache | None = None


class ToolResult(msgspec.Struct, frozen=True, kw_only=True, tag="tool_result"):
    """What a tool answered to the call `tool_use_id`; parts are texts, images and documents."""

    tool_use_id: str
    parts: "tuple[Part, ...]" = ()
    is_error: bool = False
    cache: Cache | None = None


class Thinking(msgspec.Struct, frozen=True, kw_only=True, tag="thinking"):
    """The model's reasoning as far as it is shown; `signature` and `redacted` are the provider's and opaque.

    `redacted` holds encrypted reasoning that is shown to nobody (then `text` is empty). `id` names it where the dialect
    does (Responses' reasoning items).
    """

    text: str = ""
    signature: str | None = None
    redacted: str | None = None
    id: str | None = None


class Refusal(msgspec.Struct, frozen=True, kw_only=True, tag="refusal"):
    """The model's words for not answering."""

    text: str


Part = Text | Image | Document | Audio | ToolUse | ToolResult | Thinking | Refusal
Role = Literal["system", "developer", "user", "assistant"]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One turn. Tool results are parts of a user's turn, in the order they came. `name` is the speaker's."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None


class Grammar(msgspec.Struct, frozen=True, kw_only=True):
    """The form that the text for a custom tool must have; `syntax` names the language of `definition` ("lark")."""

    syntax: str
    definition: str


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A function that the model may call; `parameters` is a JSON schema, None for a free-text (custom) tool.

    `grammar` binds a custom tool's text; without one it is free.
    """

    name: str
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None
    custom: bool = False
    grammar: Grammar | None = None
    cache: Cache | None = None


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a tool is called: as the model likes, some tool, none, or the one named (`allowed`: one of those)."""

    kind: Literal["auto", "any", "none", "tool"]
    name: str | None = None
    allowed: tuple[str, ...] | None = None


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """The form of the answer; `schema` only with "json_schema"."""

    kind: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema: Json | None = None
    strict: bool | None = None


class Reasoning(msgspec.Struct, frozen=True, kw_only=True):
    """How much the model shall think: an effort, a budget of tokens, both or neither.

    `enabled` False switches it off; `adaptive` leaves the amount to the model (Anthropic). `summary` asks for the
    thoughts to be shown ("auto", "concise", "detailed", "summarized", "omitted").
    """

    enabled: bool = True
    adaptive: bool = False
    effort: str | None = None
    budget_tokens: int | None = None
    summary: str | None = None


class ChatCall(msgspec.Struct, frozen=True, kw_only=True):
    """A chat call. None is "not said" everywhere.

    `extras` are top-level fields of the client's dialect without a canonical meaning, by name; who builds the
    provider's body either knows such a field to be a hint or refuses it by its name. `names` maps canonical field
    names to those the client used, for messages ("stop" -> "stop_sequences"). `echo` are fields that a reply of the
    client's dialect repeats as they came (Responses).
    """

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    n: int | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: Json | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    format: Format | None = None
    verbosity: str | None = None
    reasoning: Reasoning | None = None
    user: str | None = None
    metadata: Json | None = None
    service_tier: str | None = None
    stream: bool = False
    include_usage: bool = False
    extras: dict[str, Json] = {}
    names: dict[str, str] = {}
    echo: dict[str, Json] = {}


Finish = Literal["stop", "stop_sequence", "length", "tool_use", "content_filter", "refusal", "pause"]


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One answer to a call: texts, tool calls, thinking and refusals in order. `logprobs` is OpenAI's JSON."""

    index: int = 0
    parts: tuple[Part, ...] = ()
    finish: Finish = "stop"
    stop_sequence: str | None = None
    logprobs: Json | None = None


class ChatReply(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer. `created` is seconds since the epoch; `id` is the provider's."""

    id: str
    model: str
    created: int
    choices: tuple[Choice, ...]
    usage: Usage | None = None
    service_tier: str | None = None


class Start(msgspec.Struct, frozen=True, kw_only=True, tag="start"):
    """A stream begins; `usage` is the input side where the provider says it first."""

    id: str
    model: str
    created: int
    usage: Usage | None = None


class PartStart(msgspec.Struct, frozen=True, kw_only=True, tag="part_start"):
    """A part begins, empty or with its first content. `index` counts the parts of its choice."""

    index: int
    part: Text | ToolUse | Thinking | Refusal
    choice: int = 0


class Delta(msgspec.Struct, frozen=True, kw_only=True, tag="delta"):
    """More of the part `index`: its text, its arguments, or (of thinking) its signature."""

    index: int
    text: str = ""
    signature: str | None = None
    choice: int = 0
    logprobs: Json | None = None


class PartEnd(msgspec.Struct, frozen=True, kw_only=True, tag="part_end"):
    """A part is complete."""

    index: int
    choice: int = 0


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag="finished"):
    """A choice is complete."""

    finish: Finish
    stop_sequence: str | None = None
    choice: int = 0


class Used(msgspec.Struct, frozen=True, kw_only=True, tag="used"):
    """What the answer used so far or in all; the last one counts."""

    usage: Usage


class End(msgspec.Struct, frozen=True, kw_only=True, tag="end"):
    """The stream is complete: its own end marker has come."""


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """The provider reports an error within the stream; `kind` in the words of Anthropic's error types."""

    message: str
    kind: str = "api_error"


Event = Start | PartStart | Delta | PartEnd | Finished | Used | End | Failed
"""A stream in canonical events: Start, then per part PartStart, Delta*, PartEnd, per choice Finished, Used*, End.

Parts of one choice do not overlap except tool calls that a provider sends interleaved; a writer that cannot
interleave holds back all but the first open one."""
