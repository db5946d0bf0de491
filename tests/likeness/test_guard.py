"""What may not differ between two questions."""

import pytest

from app.likeness.guard import find_refusal
from app.likeness.question import read_question


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        ("Can I take 5 mg?", "Can I take 50 mg?", "number"),
        ("Can I take 5 mg?", "Can I take 5 g?", "number"),
        ("Can I take 5 mg?", "Can I take mg?", "number"),
        ("Can I retire at sixty?", "Can I retire at sixty five?", "number"),
        ("What happened in 1914?", "What happened in 1941?", "number"),
        ("Who won World War I?", "Who won World War II?", "number"),
        ("The first step of baking", "The second step of baking", "number"),
        ("Is the shop open at 7am?", "Is the shop open at 7pm?", "number"),
        ("Is iPhone 6s good?", "Is iPhone 7s good?", "number"),
        ("Is it safe?", "Is it not safe?", "negation"),
        ("Which plans include calls?", "Which plans don't include calls?", "negation"),
        ("coffee with milk", "coffee without milk", "negation"),
        ("How do I enable cookies?", "How do I disable cookies?", "opposite"),
        ("Is it legal to fish?", "Is it illegal to fish?", "opposite"),
        ("Is my ticket refundable?", "Is my ticket nonrefundable?", "opposite"),
        ("How do I opt in to the scheme?", "How do I opt out of the scheme?", "opposite"),
        ("How do I turn it on?", "How do I turn it off?", "opposite"),
        ("What to do before surgery", "What to do after surgery", "opposite"),
        ("Which country has the most people?", "Which country has the least people?", "opposite"),
        ("flights from London to Paris", "flights from Paris to London", "opposite"),
        ("What is the capital of France?", "What is the capital of Germany?", "class"),
        ("What does the red light mean?", "What does the blue light mean?", "class"),
        ("Is the shop open on Monday?", "Is the shop open on Tuesday?", "class"),
        ("How do I say hello in French", "How do I say hello in Spanish", "class"),
        ("What does 'gato' mean?", "What does 'perro' mean?", "quote"),
        ("How old is Ada Lovelace?", "How old is Alan Turing?", "name"),
        ("What is Kafka?", "What is Zookeeper?", "name"),
        ("How do I learn about Kafka?", "How do I learn about Zookeeper?", "name"),
        ("Delete all messages", "Delete messages", "scope"),
        ("Name each planet", "Name a planet", "scope"),
        ("How long was the last ice age?", "How long was the ice age?", "scope"),
        ("What is the next train to Rome?", "What is the train to Rome?", "scope"),
        ("What is the maximum speed of a cheetah?", "What is the speed of a cheetah?", "scope"),
        ("Who was the last emperor?", "Who was the emperor?", "scope"),
        ("Only adults", "Adults", "scope"),
        ("When did he die?", "Where did he die?", "question_word"),
        ("How many eggs?", "Why eggs?", "question_word"),
        ("How did he die?", "Where did he die?", "question_word"),
        ("How do I feed a dog?", "How much do I feed a dog?", "question_word"),
        ("How long is the bridge?", "How many bridges are there?", "question_word"),
        ("Can I take aspirin and ibuprofen?", "Can I take aspirin or ibuprofen?", "opposite"),
        ("Can I take both aspirin and ibuprofen?", "Can I take aspirin or ibuprofen?", "opposite"),
        ("What may I eat before surgery?", "What may I eat during surgery?", "opposite"),
        ("How often do I water a fern?", "How much do I water a fern?", "question_word"),
        ("How do I turn left on a bicycle?", "How do I turn right on a bicycle?", "opposite"),
        ("Can a man wear this?", "Can a woman wear this?", "opposite"),
        ("Is Dutch beer strong?", "Is Danish beer strong?", "class"),
        ("How do I stop the server?", "How do I start the server?", "opposite"),
        ("What happened the first time?", "What happened the second time?", "number"),
        ("Who came first?", "Who came second?", "number"),
        ("I was charged twice", "I was charged three times", "number"),
        ("How long is the Nile?", "How old is the Nile?", "question_word"),
        ("Is he rich?", "Is she rich?", "opposite"),
        ("Is Python faster than Java?", "Is Java faster than Python?", "order"),
        ("Who beat Ali?", "Who did Ali beat?", "order"),
        ("What do cats eat?", "What eats cats?", "order"),
        ("How do I turn a PDF into a JPG?", "How do I turn a JPG into a PDF?", "order"),
        ("How do I convert a Word document to PDF?", "What is the way to turn a PDF into a Word file?", "order"),
        ("What may I eat while pregnant?", "What should I avoid to eat while pregnant?", "opposite"),
        ("Is a cat bigger than a rat", "Is a rat bigger than a cat", "order"),
        ("東京はどこ", "京都はどこ", "unreadable"),
        ("Где Москва", "What is Moscow", "unreadable"),
    ],
)
def test_refusals(one, other, reason):
    """Each pair differs in one thing that makes it another question, whichever of the two is asked."""
    a, b = read_question(one), read_question(other)
    assert find_refusal(a, b) == reason
    assert find_refusal(b, a) == reason


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is the capital of France?", "What's the capital city of France?"),
        ("Can I take 5mg?", "Is it OK to take five milligrams?"),
        ("How do I renew a passport?", "How can a passport be renewed?"),
        ("Who is the president of India?", "Who is the Indian president?"),
        ("What is the U.S. population?", "What is the population of the United States?"),
        ("Why don't cats swim?", "Why do cats not swim?"),
        ("Who runs the Kubernetes cluster?", "Who runs the Kubernets cluster?"),
        ("What is in South-East Asia?", "What is in south east Asia?"),
        ("How Do I Learn Python", "How do I learn Python"),
        ("東京はどこ", "東京はどこ"),
        ("What do Americans eat?", "What do people in the USA eat?"),
        ("Is Dutch beer strong?", "Is beer from the Netherlands strong?"),
        ("Are Swiss trains on time?", "Are trains in Switzerland on time?"),
        ("Why do Muslims fast?", "What is the reason for fasting in Islam?"),
        ("What is a good gift for dad?", "What is a good gift for a father?"),
        ("Is it the right size?", "Does it have the size I need?"),
        ("What does kosher mean?", "What is meant by the word kosher?"),
        ("How long does a cold last?", "What is the duration of a cold?"),
        ("What is it like to work all night?", "What is it like to work at night?"),
        ("How often should I bathe a dog each month?", "How often in a month should I bathe a dog?"),
        ("Is a house next to a road loud?", "Is a house beside a road loud?"),
        ("What is the max speed of a tank?", "What is the maximum speed of a tank?"),
        ("I was charged twice", "I was charged two times"),
        ("Which of the two is larger, Mars or Venus?", "Is Mars or Venus larger?"),
        ("What should I do first if my phone is stolen?", "What should I do if my phone is stolen?"),
        ("How long does it take to learn to ski?", "How many days does it take to learn to ski?"),
        ("How do I find a plumber?", "Where can I find a plumber?"),
        ("How painful is a tattoo?", "How much does a tattoo hurt?"),
        ("How do I stop biting my nails?", "How can I give up biting my nails?"),
        ("How do I bake bread without an oven?", "How do I bake bread with no oven?"),
        ("Is Mars or Venus larger?", "Of Mars and Venus, which is larger?"),
        ("Why do cats purr?", "What makes a cat purr?"),
        ("How do I sort a list in python?", "How do I sort a python list?"),
        ("How do I reset it to factory settings?", "What is the way to reset it to its factory settings?"),
        ("", ""),
        ("How do I get a table in the evening, at 8?", "At 8 in the evening, how do I get a table?"),
    ],
)
def test_lets_pass(one, other):
    """What only says the same differently is not refused."""
    a, b = read_question(one), read_question(other)
    assert find_refusal(a, b) is None
    assert find_refusal(b, a) is None
