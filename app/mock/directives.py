"""Magic model names and `[[mock key=value]]` directives, read into a behaviour."""

import re
import shlex
from functools import lru_cache

import msgspec

from app.mock.behaviour import PLAIN, Behaviour
from app.mock.errors import MockError

FAULTS = ("html", "garbage", "hang", "redirect", "empty", "null", "cut_json", "drop")

_FIXED = {
    "echo": PLAIN,
    "embed": PLAIN,
    "lorem": Behaviour(text="lorem"),
    "story": Behaviour(text="story"),
    "reason": Behaviour(think=16),
    "tool": Behaviour(tool="*"),
    "cut-stream": Behaviour(text="lorem", cut_after=3),
    "cut-body": Behaviour(text="lorem", cut_after=3),
    "stall-stream": Behaviour(text="lorem", stall_after=3),
    "no-done": Behaviour(text="lorem", no_done=True),
    "error-stream": Behaviour(text="lorem", error_after=3),
    "cut-json": Behaviour(fault="cut_json"),
} | {name: Behaviour(fault=name) for name in ("garbage", "hang", "redirect", "empty", "null", "drop")}

MAGIC_MODELS = (*_FIXED, "status-429", "delay-200", "slow-stream-50", "html-502", "big-100000", "tokens-100")

_NUMBERED = re.compile(r"(status|delay|slow-stream|html|big|tokens)-(\d{1,9})")

_FAMILIES = re.compile(
    r"(gpt|o\d|chatgpt|codex|davinci|babbage|text-|omni|claude|ft:|llama|meta|mistral|mixtral|ministral|codestral|gemini"
    r"|gemma|deepseek|qwen|command|grok|phi|kimi|moonshot|glm|nova|sonar|yi|granite|jamba|bge|nomic|voyage)"
)


def _numbered(kind: str, number: int) -> Behaviour:
    match kind:
        case "status":
            retry_after = "1" if number == 429 else None
            return Behaviour(status=number, retry_after=retry_after)
        case "delay":
            return Behaviour(delay_ms=number)
        case "slow-stream":
            return Behaviour(chunk_ms=number, text="lorem")
        case "html":
            return Behaviour(fault="html", status=number)
        case "big":
            return Behaviour(big=number)
        case _:
            return Behaviour(tokens=number)


def strip_prefix(model: str) -> str:
    """Return `model` without the `mock/` that may stand before any name."""
    return model.removeprefix("mock/")


@lru_cache(maxsize=2000)
def find_model(model: str) -> Behaviour | None:
    """Return how the model of this (stripped) name behaves, or None when there is no such model."""
    if (fixed := _FIXED.get(model)) is not None:
        return fixed
    if numbered := _NUMBERED.fullmatch(model):
        kind, number = numbered[1], int(numbered[2])
        if kind in {"status", "html"} and not 200 <= number <= 599:
            return None
        return _numbered(kind, number)
    return PLAIN if _FAMILIES.match(model.rpartition("/")[2].lower()) else None


_DIRECTIVE = re.compile(r"\[\[mock\s+([^\]]*)\]\]\s*")


def strip_directives(text: str) -> str:
    """Return `text` without its directives; that is what `echo` answers with."""
    return _DIRECTIVE.sub("", text).strip() if "[[mock" in text else text


def read_behaviour(model: Behaviour, text: str) -> Behaviour:
    """Return the model's behaviour with the directives of `text` laid over it."""
    if "[[mock" not in text:
        return model
    wishes: dict[str, str] = {}
    for directive in _DIRECTIVE.findall(text):
        wishes.update(_read_pairs(directive))
    try:
        wished = msgspec.convert(wishes, Behaviour, strict=False)
    except msgspec.ValidationError as error:
        raise MockError(f"Unreadable mock directive: {error}") from error
    if wished.fault is not None and wished.fault not in FAULTS:
        raise MockError(f"Unknown fault {wished.fault!r}; there are {', '.join(FAULTS)}")
    return msgspec.structs.replace(model, **{key: getattr(wished, key) for key in wishes})


def _read_pairs(directive: str) -> dict[str, str]:
    try:
        words = shlex.split(directive)
    except ValueError as error:
        raise MockError(f"Unreadable mock directive: {error}") from error
    pairs = {key: value or "1" for key, _, value in (word.partition("=") for word in words)}
    unknown = set(pairs) - set(Behaviour.__struct_fields__)
    if unknown:
        raise MockError(f"Unknown mock directive: {', '.join(sorted(unknown))}")
    return pairs
