"""What a call's body has in it that becomes input tokens: its texts, and allowances for what is no text.

Walked once for all models that may answer. What we do not know is counted as its JSON rather than not at all.
"""

import msgspec

from app.catalog.asked import Asked, read_asked
from app.catalog.media import count_audio, count_file, find_data_url, list_strings
from app.providers.exact_json import Fields, as_list, is_fields, parse_exact, write_exact

BUILT_IN_TOOL_TOKENS = 2_000
"""A vendor's own tool, or a server of tools: what it puts into the prompt is the vendor's affair."""

SEARCH_TOKENS = 8_000
"""What one web search brings into the input (OpenAI charges a block of 8,000 for some models)."""

STATE_TOKENS = 32_000
"""A conversation, an earlier response or a stored prompt that the provider keeps and the call only names."""

PART_TOKENS = 100
"""A part of a kind that we do not know, beside the texts in it."""

# What is no part of the prompt.
_SILENT = frozenset({
    "model", "stream", "stream_options", "temperature", "top_p", "top_k", "n", "best_of", "max_tokens",
    "max_completion_tokens", "max_output_tokens", "stop", "stop_sequences", "seed", "user", "metadata", "store",
    "service_tier", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty", "logit_bias",
    "parallel_tool_calls", "tool_choice", "reasoning", "reasoning_effort", "modalities", "audio", "verbosity",
    "include", "truncation", "background", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    "thinking", "cache_control", "context_management", "speed", "inference_geo", "encoding_format", "dimensions",
    "web_search_options", "echo", "container", "max_tool_calls",
})  # fmt: skip
_TALKS = frozenset({"messages", "input", "prompt", "system", "instructions", "prediction", "suffix"})
_STATES = frozenset({"previous_response_id", "conversation", "prompt"})
_TOOLS = frozenset({"tools", "functions", "mcp_servers"})
_OWN_TOOLS = frozenset({None, "function", "custom"})

# Within a message: what says nothing, what is kept as JSON, and what is sealed by the provider.
_MARKS = frozenset({"type", "role", "cache_control", "detail", "status", "phase"})
_JSON = frozenset({"tool_calls", "function_call", "input", "parameters", "arguments", "schema", "variables", "action"})
_SEALED = frozenset({"encrypted_content", "signature", "thought_signature"})
_KNOWN_PARTS = frozenset(
    {None, "text", "input_text", "output_text", "summary_text", "message", "tool_use", "tool_result", "thinking"}
    | {"function", "function_call", "function_call_output", "reasoning", "redacted_thinking", "reasoning_text"}
)
_IMAGES = frozenset({"image", "image_url", "input_image", "image_file", "computer_screenshot"})
_AUDIO = frozenset({"audio", "input_audio", "audio_url"})
_FILES = frozenset({"file", "input_file", "document", "container_upload", "video", "video_url", "input_video"})


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What is counted of a body. `unread_bytes`: it could not be read, and each of so many bytes may be a token."""

    texts: tuple[str, ...] = ()
    messages: int = 0
    tools: int = 0
    numbers: int = 0
    images: int = 0
    small_images: int = 0
    audio_tokens: int = 0
    flat_tokens: int = 0
    unread_bytes: int = 0
    asked: Asked = Asked()


def read_contents(body: bytes) -> Contents:
    """Return what is in a body; never raises."""
    try:
        fields = parse_exact(body)
        found = _Gatherer()
        for name, value in fields.items():
            found.take_field(name, value)
    except (ValueError, RecursionError):
        return Contents(unread_bytes=len(body))
    asked = read_asked(fields, marks=found.cache_marks)
    return Contents(
        texts=tuple(found.texts),
        messages=found.messages,
        tools=found.tools,
        numbers=found.numbers,
        images=found.images,
        small_images=found.small_images,
        audio_tokens=found.audio_tokens,
        flat_tokens=found.flat_tokens + asked.web_searches * SEARCH_TOKENS,
        asked=asked,
    )


class _Gatherer:
    """Collects while it walks."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.cache_marks: list[Fields] = []
        self.messages = self.tools = self.numbers = self.images = self.small_images = 0
        self.audio_tokens = self.flat_tokens = 0

    def take_field(self, name: str, value: object) -> None:
        if value is None or name in _SILENT:
            return
        if name in _STATES and (name != "prompt" or is_fields(value)):
            self.flat_tokens += STATE_TOKENS
        elif name in _TOOLS:
            self._take_tools(value)
        elif name in _TALKS:
            self._take_talk(value)
        else:
            self._take_json(value)

    def _take_talk(self, value: object) -> None:
        """Take the conversation, or one text that stands for a message."""
        items = as_list(value)
        if items is None:
            self.messages += 1
            self._walk(value)
            return
        self.messages += sum(map(is_fields, items))
        self._walk(items)

    def _take_tools(self, value: object) -> None:
        for tool in as_list(value) or ():
            self.tools += 1
            if is_fields(tool):
                self._note_cache(tool)
                self.flat_tokens += 0 if _kind_of(tool) in _OWN_TOOLS else BUILT_IN_TOOL_TOKENS
        self._take_json(value)

    def _walk(self, value: object) -> None:
        if isinstance(value, str):
            self._take_text(value)
        elif is_fields(value):
            self._take_part(value)
        elif (items := as_list(value)) is not None:
            self._walk_list(items)
        elif value is not None:
            self.numbers += 1

    def _walk_list(self, items: list[object]) -> None:
        if items and type(items[0]) is int and set(map(type, items)) == {int}:
            self.numbers += len(items)  # a text as tokens, for embeddings and completions
            return
        for item in items:
            self._walk(item)

    def _take_part(self, part: Fields) -> None:
        kind = _kind_of(part)
        self._note_cache(part)
        if self._take_media(part, kind):
            return
        if kind not in _KNOWN_PARTS:
            self.flat_tokens += PART_TOKENS
        for key, value in part.items():
            if key in _MARKS or value is None:
                continue
            if (key in _SEALED or kind == "redacted_thinking") and isinstance(value, str):
                self.flat_tokens += len(value) // 3 + 1  # base64 of what was some four bytes a token
            elif key in _JSON and not isinstance(value, str):
                self._take_json(value)
            else:
                self._walk(value)
                self.flat_tokens += key == "name"

    def _take_media(self, part: Fields, kind: str | None) -> bool:
        """Take a picture, a recording or a file at its allowance; False for anything else."""
        if kind in _IMAGES:
            self._take_image(low="low" in list_strings(part))
        elif kind in _AUDIO:
            self.audio_tokens += count_audio(list_strings(part))
        elif kind in _FILES:
            self._take_file(part)
        else:
            return False
        return True

    def _take_image(self, *, low: bool) -> None:
        self.images += not low
        self.small_images += low

    def _take_file(self, part: Fields) -> None:
        source = part.get("source")
        if is_fields(source) and source.get("type") in {"text", "content"}:
            self.texts += list_strings({**part, "source": None})
            self._walk(source.get("data"))
            self._walk(source.get("content"))
            return
        strings = list_strings(part)
        payload = max(strings, key=len, default="")
        self.flat_tokens += count_file(strings)
        self.texts += [text for text in strings if text is not payload]

    def _take_text(self, text: str) -> None:
        mime = find_data_url(text)
        if mime is None:
            self.texts.append(text)
        elif mime.startswith("image/"):
            self._take_image(low=False)
        elif mime.startswith("audio/"):
            self.audio_tokens += count_audio([text])
        else:
            self.flat_tokens += count_file([text])

    def _take_json(self, value: object) -> None:
        self.texts.append(value if isinstance(value, str) else write_exact(value).decode())

    def _note_cache(self, part: Fields) -> None:
        mark = part.get("cache_control")
        if is_fields(mark):
            self.cache_marks.append(mark)


def _kind_of(part: Fields) -> str | None:
    kind = part.get("type")
    return kind if isinstance(kind, str) else None
