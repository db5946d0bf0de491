"""Anthropic's input usage: the tokens of a prompt, and which of them its prompt cache wrote or read."""

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec

from app.mock.behaviour import Behaviour
from app.mock.calls import count_text
from app.mock.message_bodies import Block, CountBody
from app.mock.state import State

_IMAGE_CHARS = 340


def count_input(body: CountBody) -> int:
    """Return all input tokens: system, messages and tools."""
    chars = sum(_measure(block) for block in _list_blocks(body.system))
    for message in body.messages:
        chars += sum(_measure(block) for block in _list_blocks(message.content))
    return count_text(chars, len(body.messages), body.tools)


def _list_blocks(content: Any) -> list[Any]:
    if content is None:
        return []
    return [content] if isinstance(content, str) else list(content)


def _measure(block: Any) -> int:
    if isinstance(block, str):
        return len(block)
    match block.get("type"):
        case "text":
            return len(str(block.get("text", "")))
        case "tool_result":
            return sum(_measure(part) for part in _list_blocks(block.get("content")))
        case "tool_use":
            return len(str(block.get("name", ""))) + len(msgspec.json.encode(block.get("input")))
        case "image" | "document":
            return _IMAGE_CHARS
        case _:
            return 0


def build_input_usage(
    body: CountBody,
    marked: bool,
    behaviour: Behaviour,
    state: State,
) -> dict[str, Any]:
    """Return the input side of a message's usage; its three classes are disjoint."""
    total = count_input(body)
    read, short, long = _use_cache(body, total, state) if marked else (0, 0, 0)
    read = read if behaviour.cached is None else behaviour.cached
    short = short if behaviour.cache_write is None else behaviour.cache_write
    return {
        "input_tokens": max(1, total - read - short - long),
        "cache_creation_input_tokens": short + long,
        "cache_read_input_tokens": read,
        "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
        "output_tokens": 1,
        "service_tier": "standard",
        "inference_geo": "not_available",
        "server_tool_use": None,
    }


def _use_cache(body: CountBody, total: int, state: State) -> tuple[int, int, int]:
    """Return tokens read and written (for 5 minutes, for an hour) at the prompt's cache marks."""
    read, written, ttl = 0, 0, "5m"
    for key, tokens, mark in _list_marks(body):
        reached = min(tokens, total - 1)
        if key in state.prefixes:
            read, written = reached, 0
        else:
            written = reached - read
            state.prefixes.put(key, True)
        ttl = str(mark.get("ttl", "5m"))
    return (read, 0, written) if ttl == "1h" else (read, written, 0)


def _list_marks(body: CountBody) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yield a key, the tokens so far and the mark for every block that ends a cached prefix."""
    digest = hashlib.sha256(body.model.encode())
    chars = 0
    blocks: list[Block | str] = [*(body.tools or ()), *_list_blocks(body.system)]
    for message in body.messages:
        blocks.extend(_list_blocks(message.content))
    for block in blocks:
        plain, mark = _split_mark(block)
        written = msgspec.json.encode(plain)
        digest.update(written)
        chars += len(written) if "input_schema" in plain else _measure(plain)
        if mark:
            yield digest.hexdigest(), count_text(chars, 0, None), mark


def _split_mark(block: Block | str) -> tuple[Block | str, dict[str, Any] | None]:
    if isinstance(block, str):
        return block, None
    plain = {key: value for key, value in block.items() if key != "cache_control"}
    return plain, block.get("cache_control")
