"""What a call asks: the words of its last turn, apart from everything else in it. No I/O."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, cast

import msgspec

from app.wire.caching import SemanticConfig
from app.wire.digest import hash_parts

VERSION = b"relaycore semantic 1"
ENDPOINTS = frozenset({"chat", "messages", "responses"})
IGNORED_FIELDS = ("stream", "stream_options")
DEFAULT_TEMPERATURE = Decimal(1)
"""What providers take when a call does not say."""

_TEXTS = frozenset({"text", "input_text"})
_PICTURES = frozenset({"image", "image_url", "input_image", "document", "file", "input_file", "video", "video_url"})
_INSTRUCTIONS = frozenset({"system", "developer"})
_TOOL_FIELDS = ("tools", "functions", "mcp_servers", "web_search_options")
_STATE_FIELDS = ("previous_response_id", "conversation", "prompt")
_NOTHING: tuple[None, list[Any]] = (None, [])
_PARTICULAR_FIELDS = ("seed", "logprobs", "top_logprobs", "audio", "prediction")

Fields = dict[str, Any]
_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_decode_roughly = msgspec.json.Decoder(float_hook=str).decode
_encode = msgspec.json.Encoder(order="sorted", decimal_format="number").encode


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """A question, and in `rest` everything else that its call consists of, in canonical form."""

    question: str
    rest: bytes


class UnlikeError(Exception):
    """Why a call is never answered like another: a short word for it."""


def read_asking(endpoint: str, body: bytes, rules: SemanticConfig, *, asked_for: bool) -> Asking:
    """Return what a call asks; raises UnlikeError. `body` is known to be a JSON object that can be read.

    `asked_for`: the call's own header wants similar answers, so it need not name a temperature as well.
    """
    if endpoint not in ENDPOINTS:
        raise UnlikeError("endpoint")
    document = cast(Fields, _decode(body))
    _check_parameters(document, rules, asked_for=asked_for)
    for field in IGNORED_FIELDS:
        document.pop(field, None)
    holder, key = _find_question(document, endpoint, rules)
    question = holder[key]
    holder[key] = ""
    return Asking(question=question, rest=_encode(document))


def build_identity(scope: str, provider: str, endpoint: str, headers: tuple[bytes, ...], rest: bytes) -> bytes:
    """Return the hash that only calls share which differ in nothing but the words of their question."""
    return hash_parts((VERSION, scope.encode(), provider.encode(), endpoint.encode(), *headers, rest))


def _check_parameters(document: Fields, rules: SemanticConfig, *, asked_for: bool) -> None:
    if not rules.allow_tools and any(document.get(name) not in _NOTHING for name in _TOOL_FIELDS):
        raise UnlikeError("tools")
    if any(document.get(name) is not None for name in _STATE_FIELDS):
        raise UnlikeError("stored_state")
    if any(document.get(name) is not None and document[name] is not False for name in _PARTICULAR_FIELDS):
        raise UnlikeError("particular_parameters")
    if not rules.allow_n and any(document.get(name) not in (None, 1) for name in ("n", "best_of")):
        raise UnlikeError("several_answers")
    temperature = document.get("temperature")
    if temperature is None and asked_for:
        return
    warmth = temperature if isinstance(temperature, (int, Decimal)) else DEFAULT_TEMPERATURE
    if warmth > Decimal(str(rules.max_temperature)):
        raise UnlikeError("temperature")


def _find_question(document: Fields, endpoint: str, rules: SemanticConfig) -> tuple[Fields, str]:
    """Return the object and the key under which the question stands."""
    place = "input" if endpoint == "responses" else "messages"
    said = document.get(place)
    if isinstance(said, str) and endpoint == "responses":
        return _check_text(document, place)
    turns = _list_objects(said)
    if not turns or turns[-1].get("role") != "user":
        raise UnlikeError("no_question")
    _check_turns(turns, rules)
    return _find_in_turn(turns[-1], rules)


def _check_turns(turns: list[Fields], rules: SemanticConfig) -> None:
    users = sum(turn.get("role") == "user" for turn in turns)
    others = [turn for turn in turns if _word(turn, "role") not in _INSTRUCTIONS | {"user"}]
    if not rules.allow_tools and any(_uses_tools(turn) for turn in turns):
        raise UnlikeError("tools")
    if not rules.allow_images and any(_shows_pictures(turn) for turn in turns):
        raise UnlikeError("images")
    if users > rules.max_turns or (others and rules.max_turns == 1):
        raise UnlikeError("turns")


def plays_with_tools(body: bytes) -> bool:
    """Tell whether a call may use tools, or goes on after one was used. `body` is known to be a JSON object."""
    document = cast(Fields, _decode_roughly(body))
    if any(document.get(name) not in _NOTHING for name in _TOOL_FIELDS):
        return True
    said = (document.get("messages"), document.get("input"))
    return any(_uses_tools(turn) for turns in said for turn in _parts(turns))


def _uses_tools(turn: Fields) -> bool:
    if _word(turn, "role") in {"tool", "function"} or turn.get("tool_calls") or turn.get("function_call"):
        return True
    if _word(turn, "type") not in {"", "message", "reasoning"}:
        return True
    return bool(_list_kinds(turn) & {"tool_use", "tool_result", "server_tool_use"})


def _shows_pictures(turn: Fields) -> bool:
    return bool(_list_kinds(turn) & _PICTURES)


def _list_kinds(turn: Fields) -> set[str]:
    return {_word(part, "type") for part in _parts(turn.get("content"))}


def _word(fields: Fields, name: str) -> str:
    """Return a field that is to be a word; "" when it is missing, another text when it is no text at all."""
    value = cast(object, fields.get(name, ""))
    return value if isinstance(value, str) else "\0"


def _find_in_turn(turn: Fields, rules: SemanticConfig) -> tuple[Fields, str]:
    content = turn.get("content")
    if isinstance(content, str):
        return _check_text(turn, "content")
    parts = _list_objects(content)
    texts = [part for part in parts if _word(part, "type") in _TEXTS]
    if not {_word(part, "type") for part in parts} <= _TEXTS | (_PICTURES if rules.allow_images else frozenset()):
        raise UnlikeError("parts")
    if len(texts) != 1:
        raise UnlikeError("several_texts")
    return _check_text(texts[0], "text")


def _check_text(holder: Fields, key: str) -> tuple[Fields, str]:
    text = holder.get(key)
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise UnlikeError("no_question")
    return holder, key


def _parts(content: object) -> Iterator[Fields]:
    if isinstance(content, list):
        for part in cast(list[object], content):
            if isinstance(part, dict):
                yield cast(Fields, part)


def _list_objects(value: object) -> list[Fields]:
    """Return a list of objects; UnlikeError for anything else."""
    if not isinstance(value, list):
        raise UnlikeError("no_question")
    found = list(_parts(cast(object, value)))
    if len(found) != len(cast(list[object], value)):
        raise UnlikeError("no_question")
    return found
