"""Building the messages of a chat completion from the turns of a call."""

from collections.abc import Iterable
from hashlib import sha256

import msgspec

from app.providers.exact_json import Fields
from app.translation.refusing import refuse_field
from app.wire.chat import Audio, ChatCall, Document, Image, Message, Part, Refusal, Text, Thinking, ToolResult, ToolUse

_LONGEST_ID = 40
"""OpenAI refuses tool call ids of more characters."""


def build_messages(call: ChatCall) -> list[Fields]:
    """Return the messages; BadRequestError for content that Chat Completions cannot carry."""
    try:
        return _build_messages(_gather(call.messages))
    except _UnfitError as error:
        raise refuse_field(call, "messages", str(error)) from None


class _UnfitError(Exception):
    """What cannot be sent, and why."""


def _gather(messages: tuple[Message, ...]) -> list[Message]:
    """Put together what Chat Completions wants together: the calls of one turn, and their results.

    Other dialects may have each call, each result and each thought in a message of its own. A message of nothing but
    thinking has nothing to say here.
    """
    gathered: list[Message] = []
    for message in messages:
        if message.parts and all(isinstance(part, Thinking) for part in message.parts):
            continue
        last = gathered[-1] if gathered else None
        if last is not None and last.role == message.role and _belongs(last, message):
            gathered[-1] = msgspec.structs.replace(last, parts=last.parts + message.parts)
        else:
            gathered.append(message)
    return gathered


def _belongs(last: Message, message: Message) -> bool:
    if message.role == "user":
        return any(isinstance(part, ToolResult) for part in message.parts)
    return any(isinstance(part, ToolUse) for part in last.parts + message.parts)


def _build_messages(turns: list[Message]) -> list[Fields]:
    messages: list[Fields] = []
    for message in turns:
        if message.role == "user":
            messages += _build_user(message)
        elif message.role == "assistant":
            messages.append(_build_assistant(message))
        else:
            messages.append(_build_system(message))
    return messages


def _named(message: Message, fields: Fields) -> Fields:
    name: Fields = {} if message.name is None else {"name": message.name}
    return {"role": message.role, **name, **fields}


def _build_system(message: Message) -> Fields:
    parts = [_build_text(part.text) for part in message.parts if isinstance(part, Text)]
    if len(parts) != len(message.parts):
        raise _UnfitError(f"a {message.role} message holds texts only.")
    return _named(message, {"content": _join(parts)})


def _build_user(message: Message) -> list[Fields]:
    """Return a tool message for each result, then what else the user sent.

    Tool messages hold texts only and stand right after the calls: other content of results goes into the user's
    message behind them, each piece led by the id of its call.
    """
    results: list[Fields] = []
    parts: list[Fields] = []
    said: list[Fields] = []
    for part in message.parts:
        if isinstance(part, ToolResult):
            result, shown = _build_result(part)
            results.append(result)
            parts += shown
        else:
            said += _build_part(part)
    parts += said
    if parts or not results:
        results.append(_named(message, {"content": _join(parts)}))
    return results


def _build_result(result: ToolResult) -> tuple[Fields, list[Fields]]:
    texts: list[Fields] = []
    shown: list[Fields] = []
    call_id = shorten_id(result.tool_use_id)
    for part in result.parts:
        built = _build_part(part)
        if all(item["type"] == "text" for item in built):
            texts += built
        else:
            shown += [_build_text(f"Result of {call_id}:"), *built]
    if result.is_error and not any(item["text"] for item in texts):
        texts = [_build_text("Error")]
    return {"role": "tool", "tool_call_id": call_id, "content": _join(texts)}, shown


def _join(parts: list[Fields]) -> object:
    """Return a lone text as a string, which every vendor takes, else the list."""
    if not parts:
        return ""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _build_text(text: str) -> Fields:
    return {"type": "text", "text": text}


def _build_part(part: Part) -> list[Fields]:
    match part:
        case Text():
            return [_build_text(part.text)]
        case Image():
            return [_build_image(part)]
        case Document():
            return _build_document(part)
        case Audio():
            return [{"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}]
        case _:
            raise _unfit(f"a part of type {part.__struct_config__.tag} in a user's message")


def _unfit(what: str) -> _UnfitError:
    return _UnfitError(f"{what} cannot be sent to a provider of OpenAI's Chat Completions.")


def _build_image(image: Image) -> Fields:
    source = image.source
    if source.data is not None:
        url = f"data:{source.media_type or ''};base64,{source.data}"
    elif source.url is not None:
        url = source.url
    else:
        raise _unfit("an image by file id")
    detail: Fields = {} if image.detail is None else {"detail": image.detail}
    return {"type": "image_url", "image_url": {"url": url, **detail}}


def _build_document(document: Document) -> list[Fields]:
    """Return a file, or the texts of a document in plain text: its name, its context and itself."""
    if document.citations:
        raise _unfit("a document with citations")
    source = document.source
    context = _texts(document.context)
    if source.text is not None:
        return [*_texts(document.name), *context, _build_text(source.text)]
    if source.data is not None:
        media_type = source.media_type or "application/pdf"
        name = document.name or f"document.{media_type.rpartition('/')[2]}"
        file: Fields = {"filename": name, "file_data": f"data:{media_type};base64,{source.data}"}
    elif source.file_id is not None:
        file = {"file_id": source.file_id}
    else:
        raise _unfit("a document by URL")
    return [*context, {"type": "file", "file": file}]


def _texts(text: str | None) -> Iterable[Fields]:
    return [_build_text(text)] if text else []


def _build_assistant(message: Message) -> Fields:
    """Return an assistant's message: texts, then calls. Thinking has no place in it and is left out."""
    texts: list[Fields] = []
    refusals: list[str] = []
    calls: list[Fields] = []
    for part in message.parts:
        match part:
            case Text():
                texts.append(_build_text(part.text))
            case Refusal():
                refusals.append(part.text)
            case ToolUse():
                calls.append(_build_call(part))
            case Thinking():
                pass
            case _:
                raise _unfit(f"a part of type {part.__struct_config__.tag} in an assistant's message")
    said: Fields = {"content": _join(texts) if texts or not (calls or refusals) else None}
    if refusals:
        said["refusal"] = "".join(refusals)
    if calls:
        said["tool_calls"] = calls
    return _named(message, said)


def _build_call(use: ToolUse) -> Fields:
    call_id = shorten_id(use.id)
    if use.custom:
        return {"id": call_id, "type": "custom", "custom": {"name": use.name, "input": use.arguments}}
    arguments = use.arguments if use.arguments.strip() else "{}"
    return {"id": call_id, "type": "function", "function": {"name": use.name, "arguments": arguments}}


def shorten_id(call_id: str) -> str:
    """Return an id that OpenAI takes: the same one for a call and its result, and never the same for two ids."""
    if len(call_id) <= _LONGEST_ID:
        return call_id
    return "call_" + sha256(call_id.encode()).hexdigest()[:32]
