"""OpenAI's embeddings, driven with OpenAI's own SDK."""

import base64
import math
from array import array

import openai as sdk
import pytest

pytestmark = pytest.mark.anyio


def cosine(one, two):
    return sum(a * b for a, b in zip(one, two, strict=True))


async def test_vectors_are_deterministic_units_and_near_for_common_words(openai):
    """The same text has the same unit vector; texts sharing words are nearer than strangers."""
    texts = ["the cat sat on the mat", "the cat sat on the mat", "the cat lay on the mat", "quarterly revenue"]
    answer = await openai.embeddings.create(model="embed", input=texts)
    one, same, near, far = (item.embedding for item in answer.data)
    assert one == same
    assert len(one) == 1536
    assert math.isclose(cosine(one, one), 1, rel_tol=1e-5)
    assert cosine(one, near) > 0.7
    assert cosine(one, far) < 0.3
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0


async def test_float_and_base64_are_the_same_vector(openai, http):
    """`dimensions` is honoured in both encodings."""
    body = {"model": "text-embedding-3-small", "input": "hello", "dimensions": 64}
    floats = await openai.embeddings.create(**body, encoding_format="float")
    raw = (await http.post("/v1/embeddings", json={**body, "encoding_format": "base64"})).json()
    packed = array("f", base64.b64decode(raw["data"][0]["embedding"]))
    assert packed.tolist() == floats.data[0].embedding
    assert len(packed) == 64


@pytest.mark.parametrize("value", [[1, 2, 3], [[1, 2], [3]], "text"])
async def test_tokens_are_accepted_as_input(openai, value):
    """Input may be text, tokens, or lists of them."""
    answer = await openai.embeddings.create(model="embed", input=value, dimensions=8)
    assert len(answer.data) == (2 if isinstance(value[0], list) else 1)


@pytest.mark.parametrize("value", ["", [], ["a", ""], [{}]])
async def test_empty_input_is_refused(openai, value):
    """Nothing to embed is a 400 about `input`."""
    with pytest.raises(sdk.BadRequestError) as caught:
        await openai.embeddings.create(model="embed", input=value)
    assert caught.value.param == "input"
