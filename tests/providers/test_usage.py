"""Vendors' usage objects as classes that do not overlap."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.providers.usage import read_anthropic_usage, read_count, read_openai_usage
from app.wire.usage import Usage

OPENAI = {
    "prompt and completion only": (
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        Usage(input_tokens=10, output_tokens=5),
    ),
    "cached, audio, reasoning": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 10},
            "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 5},
        },
        Usage(
            input_tokens=30,
            cache_read_tokens=60,
            input_audio_tokens=10,
            output_tokens=25,
            reasoning_tokens=20,
            output_audio_tokens=5,
        ),
    ),
    "images": (
        {
            "input_tokens": 250,
            "output_tokens": 4200,
            "input_tokens_details": {"text_tokens": 50, "image_tokens": 200},
            "output_tokens_details": {"text_tokens": 40, "image_tokens": 4160},
        },
        Usage(input_tokens=50, input_image_tokens=200, output_tokens=40, output_image_tokens=4160),
    ),
    "responses": (
        {
            "input_tokens": 100,
            "input_tokens_details": {
                "cached_tokens": 60,
                "cache_write_tokens": 30,
                "cache_write_tokens_details": {"ttl_12h_tokens": 10, "ttl_30m_tokens": 20},
            },
            "output_tokens": 9,
            "output_tokens_details": {"reasoning_tokens": 9},
        },
        Usage(
            input_tokens=10,
            cache_read_tokens=60,
            cache_write_5m_tokens=20,
            cache_write_1h_tokens=10,
            reasoning_tokens=9,
        ),
    ),
    "DeepSeek": (
        {
            "prompt_tokens": 20,
            "completion_tokens": 3,
            "prompt_cache_hit_tokens": 12,
            "prompt_cache_miss_tokens": 8,
        },
        Usage(input_tokens=8, cache_read_tokens=12, output_tokens=3),
    ),
    "DeepSeek without the sum": (
        {"completion_tokens": 3, "prompt_cache_hit_tokens": 12, "prompt_cache_miss_tokens": 8},
        Usage(input_tokens=8, cache_read_tokens=12, output_tokens=3),
    ),
    "Moonshot": (
        {"prompt_tokens": 20, "completion_tokens": 3, "cached_tokens": 5},
        Usage(input_tokens=15, cache_read_tokens=5, output_tokens=3),
    ),
    "Mistral": (
        {"prompt_tokens": 20, "completion_tokens": 3, "total_tokens": 23, "prompt_audio_seconds": {}},
        Usage(input_tokens=20, output_tokens=3),
    ),
    "xAI: reasoning beside the output": (
        {
            "prompt_tokens": 32,
            "completion_tokens": 9,
            "total_tokens": 135,
            "completion_tokens_details": {"reasoning_tokens": 94},
        },
        Usage(input_tokens=32, output_tokens=9, reasoning_tokens=94),
    ),
    "embeddings": ({"prompt_tokens": 8, "total_tokens": 8}, Usage(input_tokens=8)),
    "nulls and a float": (
        {
            "prompt_tokens": 12.0,
            "completion_tokens": 3,
            "prompt_tokens_details": None,
            "completion_tokens_details": {"reasoning_tokens": None},
        },
        Usage(input_tokens=12, output_tokens=3),
    ),
    "more cached than there was": (
        {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 50}},
        Usage(cache_read_tokens=10, output_tokens=1),
    ),
    "negative cached": (
        {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": -5}},
        Usage(input_tokens=10, output_tokens=1),
    ),
    "absurd prompt, known total": (
        {"prompt_tokens": 10**18, "completion_tokens": 4, "total_tokens": 10},
        Usage(input_tokens=6, output_tokens=4),
    ),
    "nothing": ({}, None),
    "null": (None, None),
    "a word": ("none", None),
    "a list": ([1], None),
    "only words": ({"prompt_tokens": "ten", "completion_tokens": True}, None),
    "negative": ({"prompt_tokens": -1, "completion_tokens": -1}, None),
}
ANTHROPIC = {
    "fast mode": (
        {"input_tokens": 5, "output_tokens": 3, "service_tier": "standard", "speed": "fast"},
        Usage(input_tokens=5, output_tokens=3, service_tier="fast"),
    ),
    "standard speed": (
        {"input_tokens": 5, "output_tokens": 3, "service_tier": "batch", "speed": "standard"},
        Usage(input_tokens=5, output_tokens=3, service_tier="batch"),
    ),
    "split": (
        {
            "input_tokens": 10,
            "output_tokens": 5,
            "cache_read_input_tokens": 7,
            "cache_creation_input_tokens": 30,
            "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
            "server_tool_use": {"web_search_requests": 3},
            "service_tier": "priority",
        },
        Usage(
            input_tokens=10,
            output_tokens=5,
            cache_read_tokens=7,
            cache_write_5m_tokens=10,
            cache_write_1h_tokens=20,
            web_searches=3,
            service_tier="priority",
        ),
    ),
    "only the sum": (
        {"input_tokens": 10, "output_tokens": 5, "cache_creation_input_tokens": 30, "cache_creation": None},
        Usage(input_tokens=10, output_tokens=5, cache_write_5m_tokens=30),
    ),
    "thinking": (
        {"input_tokens": 1, "output_tokens": 50, "output_tokens_details": {"thinking_tokens": 40}},
        Usage(input_tokens=1, output_tokens=10, reasoning_tokens=40),
    ),
    "nulls": (
        {
            "input_tokens": 1,
            "output_tokens": 2,
            "cache_read_input_tokens": None,
            "server_tool_use": None,
            "service_tier": None,
        },
        Usage(input_tokens=1, output_tokens=2),
    ),
    "negative": ({"input_tokens": -1, "output_tokens": 2}, None),
    "nothing": ({}, None),
    "null": (None, None),
}
CLASSES = [field for field in Usage.__struct_fields__ if field.endswith("_tokens")]
WILD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.integers(0, 100),
    lambda inner: st.dictionaries(
        st.sampled_from(
            [
                "prompt_tokens",
                "completion_tokens",
                "total_tokens",
                "input_tokens",
                "output_tokens",
                "prompt_tokens_details",
                "completion_tokens_details",
                "cached_tokens",
                "reasoning_tokens",
                "audio_tokens",
                "cache_creation",
                "cache_creation_input_tokens",
                "ephemeral_1h_input_tokens",
                "server_tool_use",
                "service_tier",
            ]
        ),
        inner,
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("name", OPENAI)
def test_openai_classes_are_disjoint(name: str) -> None:
    """Each vendor's convention comes out as classes whose sum is what is billed; unknown is never zero."""
    raw, usage = OPENAI[name]
    assert read_openai_usage(raw) == usage


@pytest.mark.parametrize("name", ANTHROPIC)
def test_anthropic_classes_are_taken_as_they_are(name: str) -> None:
    """Anthropic's input excludes cached tokens; the sum of written tokens is used when there is no split."""
    raw, usage = ANTHROPIC[name]
    assert read_anthropic_usage(raw) == usage


@pytest.mark.parametrize(
    ("value", "count"), [(3, 3), (3.0, 3), (0, 0), (3.5, None), (-1, None), (True, None), (10**12, None), ("3", None)]
)
def test_only_a_count_is_a_count(value: object, count: int | None) -> None:
    """Fractions, words, booleans, negative and absurd numbers are unknown."""
    assert read_count(value) == count
    assert read_count(float("nan")) is read_count(float("inf")) is None


@given(WILD)
def test_no_usage_object_is_too_wild(raw: object) -> None:
    """Whatever is under `usage`, the result is None or classes that are not negative."""
    for usage in (read_openai_usage(raw), read_anthropic_usage(raw)):
        assert usage is None or all(getattr(usage, field) >= 0 for field in CLASSES)


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000))
def test_openai_classes_add_up_to_the_input(prompt: int, cached: int, written: int, audio: int) -> None:
    """However the parts overlap, the input classes add up to the tokens of the prompt."""
    details = {"cached_tokens": cached, "cache_write_tokens": written, "audio_tokens": audio}
    usage = read_openai_usage({"prompt_tokens": prompt, "completion_tokens": 0, "prompt_tokens_details": details})
    assert usage is not None
    assert sum(getattr(usage, field) for field in CLASSES) == prompt


def test_the_tier_comes_from_the_answer() -> None:
    """OpenAI names the service tier beside the usage."""
    usage = read_openai_usage({"prompt_tokens": 1, "completion_tokens": 1}, tier="flex", web_searches=2)
    assert usage == Usage(input_tokens=1, output_tokens=1, service_tier="flex", web_searches=2)
    assert msgspec.structs.asdict(usage)["service_tier"] == "flex"
