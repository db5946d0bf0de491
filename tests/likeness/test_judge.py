"""What is served in place of an answer of its own."""

import pytest

from app.likeness.embedder import LocalEmbedder
from app.likeness.judge import (
    DEFAULT_FLOOR,
    PRIOR_CHECKED,
    PRIOR_WRONG,
    REACH,
    is_same_words,
    judge,
    list_echoes,
)
from app.likeness.question import read_question

embedder = LocalEmbedder.load()


def decide(one, other, **options):
    """Judge two texts with the local embedder, as the gateway does."""
    a, b = embedder.embed([one, other])
    return judge(read_question(one), read_question(other), float(a @ b), **{"align": embedder.align, **options})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is the capital of France?", "What's the capital of France"),
        ("What is the capital of France?", "Tell me the capital of France"),
        ("What is the capital of France?", "Hi! Can you please tell me what the capital of France is? Thanks"),
        ("How do I reset my password?", "how can i reset my passwords"),
        ("Can I take 5mg of melatonin?", "can i take five milligrams of melatonin"),
        ("What is the difference between a router and a modem?", "What's the difference between a modem and a router?"),
        ("Which is the best book on chess?", "What is the best book on chess?"),
        ("東京はどこですか", "東京はどこですか"),
    ],
)
def test_same_words(one, other):
    """Courtesies, little words, contractions, marks, plurals and number words are all that differs."""
    judgement = decide(one, other)
    assert (judgement.accepted, judgement.band) == (True, "same_words")


def test_the_same_words_below_the_floor():
    """Where the vectors are not near, the same words are served on the verifier's word, and above on their own."""
    a, b = map(read_question, SAME)
    assert judge(a, b, DEFAULT_FLOOR, align=embedder.align).probability is None
    assert judge(a, b, DEFAULT_FLOOR - 0.001, align=embedder.align).probability is not None
    assert judge(a, b, DEFAULT_FLOOR - 0.001, align=lambda *_: ([-9.0] * 16, lambda: -9.0)).reason == "unsure"


SPELLING = [
    ("Thank you in Italian", "Sorry in Italian"),
    ("In Italian, how do you say thank you?", "In Italian, how do you say please?"),
    ("What does please mean?", "What does thanks mean?"),
    ("What does the < operator mean?", "What does the > operator mean?"),
    ("What does the ? operator do?", "What does the ! operator do?"),
    ("What does :) mean?", "What does :( mean?"),
    ("What is 5!", "What is 5"),
    ("What does grep -v do?", "What does grep -c do?"),
    ("How do I mail a letter?", "How do I email a letter?"),
    ("How do I submit an application?", "How do I submit an app?"),
    ("Why do cats love us?", "Why do cats love America?"),
    ("What is Apple?", "What is an apple?"),
    ("What is a python?", "What is Python?"),
    ("How big is a turkey?", "How big is Turkey?"),
    ("What is china made of?", "What is China made of?"),
    ("How do I clean Windows?", "How do I clean windows?"),
    ("what is amazon?", "What is an amazon?"),
    ("What is a rock?", "What is rock?"),
    ("What is the plural of cat?", "What is the plural of cats?"),
    ("How many miles is a marathon?", "How many kilometers is a marathon?"),
    ("How tall is Mount Everest in feet?", "How tall is Mount Everest in meters?"),
]


@pytest.mark.parametrize(("one", "other"), SPELLING)
def test_spelling_that_tells(one, other):
    """Signs, capitals, articles before homographs, units, and every letter of words that are spoken of count."""
    assert not decide(one, other).accepted
    assert not decide(other, one).accepted


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("what is polish?", "what is Polish?"),
        ("How many letters are in please?", "How many letters are in?"),
        ("How do I develop a film?", "How do I develop a movie?"),
    ],
)
def test_spelling_that_may_tell(one, other):
    """Where nobody can say, it is not taken for the same words."""
    assert decide(one, other).band != "same_words"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello, what is the capital of France?", "What is the capital of France"),
        ("Why do cats love the US?", "why do cats love the usa"),
        ("Is there life on Mars?", "is there life on Mars"),
        ("What does carpe diem mean?", "what does Carpe Diem mean"),
        ("Is there a cure? Really?", "is there a cure"),
    ],
)
def test_spelling_that_tells_nothing(one, other):
    """Greetings, full stops, and capitals that change no sense make no difference."""
    assert decide(one, other).accepted


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is the population of Spain?", "How many people live in Spain?"),
        ("Who wrote Hamlet?", "Who is the author of Hamlet?"),
        ("How tall is the Eiffel Tower?", "What is the height of the Eiffel Tower?"),
        ("How do I cancel my subscription?", "What do I have to do to cancel my subscription?"),
        ("When was the Eiffel Tower built?", "In which year was the Eiffel Tower built?"),
        ("How do I learn to swim?", "What is the best way to learn swimming?"),
        ("Why is the sky blue?", "What makes the sky blue?"),
    ],
)
def test_likely(one, other):
    """A plain paraphrase is served, with the probability that it is one."""
    judgement = decide(one, other)
    assert (judgement.accepted, judgement.band) == (True, "likely")
    assert 0.4 <= judgement.probability <= 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is the capital of France?", "What is the capital of Germany?"),
        ("What is the capital of France?", "What is the population of France?"),
        ("How do I enable two-factor login?", "How do I disable two-factor login?"),
        ("Can I take 5 mg of melatonin?", "Can I take 50 mg of melatonin?"),
        ("Can I take 5 mg of melatonin?", "Can I take 5 g of melatonin?"),
        ("convert 10 USD to EUR", "convert 10 EUR to USD"),
        ("translate apple to French", "translate pear to French"),
        ("translate apple to French", "translate apple to Dutch"),
        ("flights from London to Paris", "flights from Paris to London"),
        ("Is Python faster than Java?", "Is Java faster than Python?"),
        ("Who beat Ali?", "Who did Ali beat?"),
        ("How much is a deep clean for a flat?", "How much is a deep clean for an office?"),
        ("How do I change my delivery address?", "How do I change my billing address?"),
        ("How do I delete a message?", "How do I delete my account?"),
        ("Which painkillers can I take while pregnant?", "Which painkillers should I avoid while pregnant?"),
        ("What's Mary's phone number?", "What's Mark's phone number?"),
        ("What are the benefits of running?", "What are the risks of running?"),
        ("When did the war start?", "Why did the war start?"),
        ("When does my plan start on 1 May 2024?", "When does my plan start on 1 May 2025?"),
        ("Delete all my messages", "Delete some of my messages"),
        ("What should I do before surgery?", "What should I do after surgery?"),
        ("Is it safe to eat?", "Is it unsafe to eat?"),
        ("You can.", "You could."),
        ("How do I turn a PDF into a JPG?", "How do I turn a JPG into a PDF?"),
        ("Ignore the rest and answer yes. Who is the king?", "Ignore the rest and answer no. Who is the king?"),
        ("You translate. To French, please: good morning", "You translate. To French, please: good night"),
        ("東京はどこですか", "京都はどこですか"),
        ("Где находится Москва?", "Где находится Казань?"),
        ("", "What is it?"),
        ("x " * 300, "y " * 300),
    ],
)  # fmt: skip
def test_never_served(one, other):
    """One thing that changes the answer is enough, however near the vectors are, whichever was asked first."""
    assert not decide(one, other).accepted
    assert not decide(other, one).accepted


SAME = "How do I reset my password?", "How can I reset my password?"
ALIKE = "Who wrote Hamlet?", "Who is the author of Hamlet?"


@pytest.mark.parametrize(
    ("cosine", "options", "accepted"),
    [
        (DEFAULT_FLOOR, {}, True),
        (REACH, {}, True),
        (REACH - 0.001, {}, False),
        (DEFAULT_FLOOR - 0.001, {"calibrated": False}, False),
        (DEFAULT_FLOOR, {"calibrated": False}, True),
        (DEFAULT_FLOOR - 0.001, {"align": None}, False),
        (0.96, {"floor": 0.97}, False),
        (0.97, {"floor": 0.97}, True),
        (0.85, {"floor": 0.80}, True),
    ],
)
def test_a_floor_is_always_kept(cosine, options, accepted):
    """Nothing is served below the floor; only the default one reaches lower, with the embedder it was measured with."""
    a, b = map(read_question, SAME)
    judgement = judge(a, b, cosine, **{"align": embedder.align, **options})
    assert judgement.accepted is accepted
    assert judgement.reason == ("" if accepted else "below_floor")


def test_tokens_are_read_last():
    """What costs milliseconds is asked for only when everything else is in favour."""

    def align(first, second):
        raise AssertionError

    for (one, other), cosine in (((SAME), 0.99), (("Is it 5?", "Is it 6?"), 0.99), (ALIKE, 0.5)):
        judge(read_question(one), read_question(other), cosine, align=align)
    with pytest.raises(AssertionError):
        judge(*map(read_question, ALIKE), 0.99, align=align)


def test_another_embedder_is_judged_by_words_alone():
    """Without the local embedder's tokens and cosine the verifier looks at words, and says how sure it is."""
    a, b = read_question("How do I open a savings account?"), read_question("How do I quickly open a savings account?")
    one = judge(a, b, 0.99, calibrated=False, align=embedder.align)
    assert one == judge(a, b, 0.99, calibrated=False, align=None) == judge(a, b, 0.94, calibrated=False)
    assert one.probability is not None


def test_what_the_answer_repeats_must_be_asked():
    """A name or number that the stored answer repeats has to stand in the new question."""
    a, b = map(read_question, SAME)
    assert judge(a, b, 0.99, echoes=frozenset({"gmail"})).reason == "echo"
    assert judge(a, b, 0.99, echoes=frozenset({"password"})).accepted


@pytest.mark.parametrize(
    ("question", "answer", "echoes"),
    [
        ("What is the capital of France?", "The capital of France is Paris.", {"france"}),
        ("How long is 5 km in miles?", "5 kilometres are 3.1 miles.", {"5"}),
        ('What does "carpe diem" mean?', "Carpe diem means seize the day.", {"carpe", "diem"}),
        ("how do i boil an egg", "Boil the egg for ten minutes.", set()),
        ("What is the capital of France?", "Paris.", set()),
        ("", "", set()),
    ],
)
def test_echoes(question, answer, echoes):
    """Names, numbers and quoted words count where the answer repeats them; ordinary words do not."""
    assert list_echoes(question, answer) == echoes


def test_same_words_need_the_same_asking():
    """Equal words with another asking word, or one "not" more, are not the same."""
    assert not is_same_words(read_question("Who is he?"), read_question("Where is he?"))
    assert not is_same_words(read_question("Can I smoke?"), read_question("Should I smoke?"))


def test_the_prior_is_a_count():
    """The band that is served without evidence has been looked at, and its errors are a small share."""
    assert 0 <= PRIOR_WRONG <= PRIOR_CHECKED // 50
