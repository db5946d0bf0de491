"""How a model counts: its vocabulary where that is known, and what else its prompts are charged with."""

import re

import msgspec

from app.catalog.vocabulary import CL100K, O200K
from app.translation.anthropic_models import find_generation


class Tokenizer(msgspec.Struct, frozen=True, kw_only=True):
    """How the input of a model is counted.

    `percent` is what a text has in tokens of the model for 100 tokens of `vocabulary`. For `foreign` ones that is a
    guess on the safe side: each character outside ASCII counts one more, and no text has fewer tokens than a quarter
    of its characters. `call_tokens`, `message_tokens` and `tools_tokens` come on top for each call, message and set of
    tools, `image_tokens` and `small_image_tokens` for each picture (the latter where low detail is asked for).
    """

    vocabulary: str = O200K
    percent: int = 100
    foreign: bool = False
    call_tokens: int = 3
    message_tokens: int = 4
    tools_tokens: int = 16
    image_tokens: int = 5_000
    small_image_tokens: int = 300


# OpenAI publishes its vocabularies, and for chats a rule: 3 tokens for each message beside its role and texts, 3 more
# for the beginning of the answer. Pictures: the largest of gpt-4o is 1,445 tokens and of gpt-5 about as much,
# patch-based small models up to 3,800; gpt-4o-mini counts them at 33 times gpt-4o's.
_O200K = Tokenizer()
_SMALL_4O = Tokenizer(image_tokens=48_500, small_image_tokens=2_850)
_CL100K = Tokenizer(vocabulary=CL100K)
_EMBEDDING = Tokenizer(vocabulary=CL100K, call_tokens=0, message_tokens=0)

# Claude's tokenizer is not published: English takes about a fifth more tokens than with o200k_base, code up to a
# third; from 4.7 on the vendor states up to 35 % more again. Its prompt for tools has 300 to 550 tokens.
_CLAUDE = Tokenizer(percent=140, foreign=True, call_tokens=8, tools_tokens=700)
_NEW_CLAUDE = Tokenizer(percent=185, foreign=True, call_tokens=8, tools_tokens=700)

# Gemini (256k pieces), Llama 3, Qwen and DeepSeek (128k to 152k) come close to o200k_base; older vocabularies of 32k
# pieces and whatever we do not know take up to two fifths more. A server's chat template adds what it likes.
_LARGE = Tokenizer(percent=120, foreign=True, call_tokens=16, message_tokens=8, tools_tokens=600)
_UNKNOWN = Tokenizer(percent=140, foreign=True, call_tokens=32, message_tokens=8, tools_tokens=600)

_BY_NAME = (
    (re.compile(r"(?:ft:)?gpt-4o-mini"), _SMALL_4O),
    (re.compile(r"text-embedding-"), _EMBEDDING),
    (re.compile(r"(?:ft:)?(?:gpt-4(?:$|-)|gpt-3\.?5|(?:davinci|babbage)-002)"), _CL100K),
    (re.compile(r"(?:ft:)?(?:gpt-|chatgpt-|o[1-9](?:$|-)|codex-|computer-use-)"), _O200K),
    (re.compile(r"gemini|gemma|llama-?[34]|meta-llama|qwen|deepseek|grok|gpt-oss"), _LARGE),
)


def find_tokenizer(model: str, vendor: str) -> Tokenizer:
    """Return how `model` counts at the vendor of that name, or at a server that nobody knows ("").

    The mock has a rule of its own whatever its models are called; so may such a server have.
    """
    if vendor == "mock":
        return _UNKNOWN
    named = _find_by_name(model)
    return named if vendor else _find_dearer(named, _UNKNOWN)


def _find_dearer(one: Tokenizer, other: Tokenizer) -> Tokenizer:
    """Return a tokenizer that counts no less than either."""
    return Tokenizer(
        vocabulary=one.vocabulary,
        percent=max(one.percent, other.percent),
        foreign=one.foreign or other.foreign,
        call_tokens=max(one.call_tokens, other.call_tokens),
        message_tokens=max(one.message_tokens, other.message_tokens),
        tools_tokens=max(one.tools_tokens, other.tools_tokens),
        image_tokens=max(one.image_tokens, other.image_tokens),
        small_image_tokens=max(one.small_image_tokens, other.small_image_tokens),
    )


def _find_by_name(model: str) -> Tokenizer:
    name = model.lower().rpartition("/")[2]
    generation = find_generation(name)
    if generation is not None:
        return _NEW_CLAUDE if generation >= (4, 7) else _CLAUDE
    return next((tokenizer for pattern, tokenizer in _BY_NAME if pattern.match(name)), _UNKNOWN)
