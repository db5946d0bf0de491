"""Questions whose answer is never another's."""

import pytest

from app.likeness.never import find_reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"), ("  \n", "empty"), ("?!", "empty"), ("🙂🙂", "empty"),
        ("What is the weather like today?", "time_word"), ("Who is the current president?", "time_word"),
        ("What happened last week?", "time_word"), ("What will happen in the next 3 days?", "time_word"),
        ("What is the time in Tokyo?", "time_word"), ("What is the date please", "time_word"),
        ("What is the current flight status?", "time_word"), ("Tell me what the date is", "time_word"),
        ("What is the date and time?", "time_word"), ("what is the time london", "time_word"),
        ("What time is it", "time_word"), ("best phones right now", "time_word"), ("Restaurants near me", "time_word"),
        ("what is 12 * 7", "compute"), ("What is 3+4?", "compute"), ("solve x + 3 = 9", "compute"),
        ("convert 10 USD to EUR", "compute"), ("what is fifteen percent of 80", "compute"),
        ("Calculate the sum of 3 and 4", "compute"), ("78 times 81 minus 5", "compute"),
        ("Why does `x = {}` fail?", "code"), ("```print(1)```", "code"), ("import os\nos.getcwd()", "code"),
        ("class Foo(Bar): pass", "code"), ("const x = 5", "code"), ("from os import path", "code"),
        ("import os, sys", "code"),
        ("what does foo.bar(1) do", "code"), ("a && b", "code"),
        ("Summarise https://example.org/a", "url"),
        ("Is example.com down?", "url"), ("Write to joe@example.org", "url"),
        ("Is 192.168.1.10 up", "url"), ("open /etc/hosts", "url"),
        ("Track order 48213", "id"), ("Status of INV-2024", "id"), ("find 3f2a9bc41d", "id"), ("issue #42", "id"),
        ("call +4915112345678", "id"), ("token AB12CD34EF", "id"),
        ("Summarise this article", "deictic"), ("Translate the following text", "deictic"),
        ("it does not work", "deictic"),
        ("What does this mean?", "deictic"), ("What is his name?", "deictic"),
        ("Explain the code above and these lines", None),
        ("word " * 65, "too_long"), ("a " * 3000, "too_long"), ("x" * 5000, "too_long"),
    ],
)  # fmt: skip
def test_reasons(text, reason):
    """Each kind of question that another's answer cannot serve has its reason."""
    assert find_reason(text, shared=False) == reason


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of France?", "How do I reset my password?", "Can I return it after 14 days?",
        "Is the clinic open on Sundays?", "Who won the 1998 world cup?", "Price of 100000 bricks",
        "What is the import duty on cars?", "What is the function of a plant ovary?",
        "How do solar panels work at 25-30 degrees?",
        "From what age may children fly alone?", "Class 12 physics, which book is best?",
        "Let us say I lose, what then?",
        "import duty on a car", "What is the date of the fall of Rome?", "What is the time needed to boil an egg?",
        "How does alternating current work?", "How do I open a current account?",
        "C++ or C#?", "Should I learn node.js?", "Où est la gare?", "東京はどこにありますか",
    ],
)  # fmt: skip
def test_ordinary_questions(text):
    """An ordinary question may be answered from a similar one of the same person."""
    assert find_reason(text, shared=False) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("What is my balance?", "person_word"), ("Who am I?", "person_word"), ("I'm 40, can I retire?", "person_word"),
        ("Do we have a deadline", "person_word"), ("Help me with my tax", "person_word"),
        ("How do I boil an egg?", None), ("Where can I buy stamps?", None), ("Tell me the capital of France", None),
        ("What is the capital of France?", None), ("Which way is it to today's class", "time_word"),
    ],
)  # fmt: skip
def test_shared_answers_are_nobodys(text, reason):
    """Where answers go to other people, a question about oneself has none; in "how do I" nobody is meant."""
    assert find_reason(text, shared=True) == reason
