"""Whether two answers say the same, as the local model finds them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.likeness.embedder import LocalEmbedder
from app.semantic.comparing import MIN_SHORT, MIN_SIMILARITY, SHORT_WORDS, compare_answers


@pytest.fixture(scope="module")
def model():
    return LocalEmbedder.load()


def measure(model, one, other):
    here, there = model.embed([one, other])
    return float(here @ there)


def check(model, one, other, verdict):
    """Compare two answers both ways round, as near as the model finds them."""
    similarity = measure(model, one, other)
    assert compare_answers(one, other, similarity, model.align) == verdict
    assert compare_answers(other, one, similarity, model.align) == verdict


DIFFERENT = [
    ("Turn it on.", "Turn it off."),
    ("Log in first.", "Log out first."),
    ("The answer is A.", "The answer is B."),
    ("Option A", "Option B"),
    ("He won.", "She won."),
    ("Transfer it to Anna.", "Transfer it from Anna."),
    ("Germany beat Brazil 7:1.", "Brazil beat Germany 7:1."),
    ("Alice beat Bob.", "Bob beat Alice."),
    ("From London to Paris.", "From Paris to London."),
    ("5 > 3", "3 > 5"),
    ("10 %", "10"),
    ("10 %", "10 $"),
    ("$ 5", "€ 5"),
    ("5 €", "5 $"),
    ("- 5", "5"),
    ("Sydney is the capital of Australia.", "Canberra is the capital of Australia."),
    ("5 kg", "5 g"),
    ("He died in 1990.", "He was born in 1990."),
    ("It opens at 3:00 am.", "It opens at 3:00 pm."),
    ("It is 5 km away.", "It is 5 miles away."),
    ("Take 5 mg daily.", "Take 5 mg weekly."),
    ("It will rise by 10%.", "It will fall by 10%."),
    ("Minimum 8 characters.", "Maximum 8 characters."),
    ("It is legal in Spain.", "It is illegal in Spain."),
    ("Python supports it.", "Python lacks it."),
    ("It is hot in Rome.", "It is cold in Rome."),
    ("Only Paris.", "Paris and London."),
    ("C", "C++"),
    ("C#", "C++"),
    ("x < 5", "x > 5"),
    ("+5", "-5"),
    ("It is possible.", "It is impossible."),
    ("It works in Paris.", "It fails in Paris."),
    ("up", "down"),
    ("Scroll up in Word.", "Scroll down in Word."),
    ("5 million people", "5 billion people"),
    ("1e5", "1e6"),
    ("v2", "v3"),
    ("H2O", "H3O"),
    ("It can.", "It will."),
    ("You can.", "You could."),
    ("They did.", "They do."),
    ("Before 1990, yes.", "After 1990, yes."),
    ("No idea.", "Yes."),
    ("No problem, it works.", "Yes, it works."),
    ("Not only Paris.", "Paris."),
    ("Nothing but Paris.", "It is Paris."),
    ("Dose of 500 mg.", "Dose of 500 mg, not with alcohol."),
    ("Paris (France)", "Paris (Texas)"),
    ("3 or 4", "3"),
    ("Between 5 and 10", "5"),
    ("Do it.", "Do not do it. Never."),
    ("Don\u2019t use it.", "Use it."),
    ("dont use it", "use it"),
    ("It is hardly safe.", "It is safe."),
    ("It is unsafe to use it.", "It is safe to use it."),
    ("Ja, das geht.", "Nein, das geht nicht."),
    ("Das geht.", "Das geht nicht."),
    ("Sí, es seguro.", "No, es seguro."),
    ("C'est vrai.", "C'est faux."),
    ("It is safe.", "It is not safe."),
    ("It is safe.", "It isn\u2019t safe."),
    ("The capital of Australia is Sydney.", "The capital of Australia is Canberra."),
    ("Canberra is the capital of Australia, not Sydney.", "Sydney is the capital of Australia, not Canberra."),
    ("Drive on the left side.", "Drive on the right side."),
    ("The shop is closed on Monday.", "The shop is closed on Sunday."),
    ("It costs $5.", "It costs \u20ac5."),
    ("Paris", "London"),
    ("Paris.", "London."),
    ("It is Paris.", "It is London."),
    ("card_arrival", "lost_card"),
    ("answer 17", "answer 23"),
    ("Yes", "No"),
    ("Yes, it does.", "No, it doesn't."),
    ("", "Paris"),
    ("...", "Paris"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_answers(model, one, other):
    """Other names, numbers, units, signs and orders, opposites and negations are other answers."""
    check(model, one, other, "different")


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
@pytest.mark.parametrize("similarity", [None, -1.0, 0.2])
def test_different_answers_that_no_model_finds_near(one, other, similarity):
    """What is different stays so where the similarity is unknown or low, and without the model's closer look."""
    assert compare_answers(one, other, similarity) == "different"
    assert compare_answers(other, one, similarity) == "different"


SETTINGS = """To change how {what} behave on your phone, first open the settings and scroll down until you see the list
of sections. There choose {section} and then look for the entry you want to change. You are asked to confirm with
your code or your fingerprint. After that the change takes effect at once, and you can go back with the arrow in the
upper left corner. If nothing happens, restart the phone and try the same steps again, or ask the maker for help."""


@pytest.mark.parametrize(
    ("one", "other"), [(("apps", "Applications"), ("apps", "Accounts")), (("apps", "Privacy"), ("apps", "Storage"))]
)
def test_long_answers_that_name_another_thing(model, one, other):
    """In the midst of the same words another name is another answer, however near the two are."""
    texts = [SETTINGS.format(what=what, section=section) for what, section in (one, other)]
    check(model, *texts, "different")
    check(model, texts[0], texts[0].replace("first open", "open"), "same")


SAME_FACT = [
    ("Paris.", "The capital of France is Paris."),
    ("42", "The answer is 42."),
]
EQUAL = [
    ("", ""),
    ("...", "!"),
    ("Paris.", "paris"),
    ("Paris.", "PARIS"),
    ("Paris.", "**Paris!**"),
    ("Paris.", "\n  Paris. "),
    ("It is safe.", "it is\n\n safe"),
    ("It is safe, and cheap.", '"It is safe and cheap"'),
    ("\uff46\uff55\uff4c\uff4c width", "full width"),
    ("STRASSE", "stra\u00dfe"),
    ("card_arrival", "`card_arrival`"),
]
SAME = [
    ("1,000 people", "1000 people"),
    ("The universe is about 13.8 billion years old.", "The age of the universe is approximately 13.8 billion years."),
    (
        "Go to Settings, then choose Display and turn on Dark mode.",
        "To enable dark mode, open Settings, select Display, and switch Dark mode on.",
    ),
    ("It's cheap.", "It is cheap."),
]


@pytest.mark.parametrize(("one", "other"), [*SAME_FACT, *EQUAL, *SAME])
def test_same_answers(model, one, other):
    """Other words for the same, or the same words set otherwise, are the same answer."""
    check(model, one, other, "same")


@pytest.mark.parametrize(("one", "other"), [*SAME_FACT, *EQUAL])
@pytest.mark.parametrize("similarity", [None, -1.0, 0.2, 1.0])
def test_same_words_need_no_model(one, other, similarity):
    """Equal words, and a fact alone beside its sentence, are the same whatever a model finds."""
    assert compare_answers(one, other, similarity) == "same"
    assert compare_answers(other, one, similarity) == "same"


@pytest.mark.parametrize(("one", "other"), SAME)
@pytest.mark.parametrize("similarity", [None, -1.0, 0.2, MIN_SHORT - 0.001])
def test_other_words_need_a_model(model, one, other, similarity):
    """Other words may say the same only where a model has found them near."""
    assert compare_answers(one, other, similarity, model.align) == "different"
    assert compare_answers(other, one, similarity, model.align) == "different"


SERVICE = (
    "Our service offers many settings that a user changes under preferences, while administrators keep quotas, alerts, "
    "exports, backups, billing, tokens, hooks, themes, languages, regions, domains and mail. Each of them takes effect "
    "within a minute, and the history of a workspace shows who changed it and when, so that the team can follow what "
    "happened and return to an earlier state if something went wrong along the way."
)
BREAD = (
    "Knead flour, water, salt and yeast, let the dough rest until it has doubled, shape it, let it rise once more and "
    "bake it in a very hot oven until the crust is brown; a bowl of steaming water below helps, as does a heavy pot, "
    "while too much yeast makes bread that tastes of beer and dries within hours and crumbles as soon as it is cut."
)


def test_these_answers_are_long():
    assert all(len(text.replace(",", " ").split()) > SHORT_WORDS for text in (SERVICE, BREAD))


LONG_DIFFERENT = [
    (f"{SERVICE} It is safe.", f"{SERVICE} It is not safe."),
    (f"{SERVICE} You can use it offline.", f"{SERVICE} You cannot use it offline."),
    (f"{SERVICE} Set the limit to 5.", f"{SERVICE} Set the limit to 500."),
    (f"{SERVICE} It began in 1618.", f"{SERVICE} It began in 1756."),
    (f"{SERVICE} It lies to the left.", f"{SERVICE} It lies to the right."),
    (f"Yes. {SERVICE}", f"No. {SERVICE}"),
    (f"Ja. {SERVICE}", f"Nein. {SERVICE}"),
    (f"Indeed. {SERVICE}", f"Nope. {SERVICE}"),
    (SERVICE, BREAD),
]
LONG_SAME = [
    (SERVICE, f"{SERVICE} Please write to us if you have questions."),
    (SERVICE, f"Sure, here is how that works. {SERVICE}"),
    (f"{SERVICE} Set the limit to 5.", f"{SERVICE} Set the limit to 5. Happy to help with more."),
]


@pytest.mark.parametrize(("one", "other"), LONG_DIFFERENT)
def test_long_answers_that_differ(model, one, other):
    """Near the end of a long answer, too, a negation, an opposite or a number makes it another one."""
    check(model, one, other, "different")


@pytest.mark.parametrize(("one", "other"), LONG_SAME)
def test_long_answers_that_say_the_same(model, one, other):
    """Long answers that are near and do not contradict each other say the same."""
    check(model, one, other, "same")


@pytest.mark.parametrize(("one", "other"), [*LONG_DIFFERENT, *LONG_SAME])
def test_long_answers_that_no_model_has_compared(model, one, other):
    """Where it is not known how near two long answers are, or they are far, only equal words are the same."""
    for similarity in (None, MIN_SIMILARITY - 0.001):
        assert compare_answers(one, other, similarity, model.align) == "different"
        assert compare_answers(other, one, similarity, model.align) == "different"
        assert compare_answers(one, f"**{one.upper()}**\n", similarity) == "same"


@pytest.mark.parametrize("count", [2, 31, 100])
def test_texts_full_of_numbers(model, count):
    """Tables with other numbers are other answers, however many there are."""
    one, other = (" ".join(f"row {number}" for number in range(start, start + count)) for start in (100, 500))
    check(model, one, other, "different")
    assert compare_answers(one, other, 1.0) == "different"
    assert compare_answers(one, one.replace(" ", "\n"), None) == "same"


TEXTS = st.text() | st.lists(
    st.sampled_from(
        ["yes", "no", "not", "can't", "the", "Paris", "Rome", "left", "right", "7", "-7", "1,5", "\n", "x"]
    ),
    max_size=80,
).map(" ".join)
SIMILARITIES = st.none() | st.floats(-1, 1)


@settings(deadline=None)
@given(TEXTS, TEXTS, SIMILARITIES)
def test_both_ways(one, other, similarity):
    """It does not matter which of the two answers was stored."""
    verdict = compare_answers(one, other, similarity)
    assert verdict == compare_answers(other, one, similarity)
    assert verdict in {"same", "different"}


@settings(deadline=None, max_examples=60)
@given(one=TEXTS, other=TEXTS)
def test_both_ways_with_the_model(model, one, other):
    """Nor does it matter where the model takes its closer look."""
    similarity = measure(model, one, other)
    verdict = compare_answers(one, other, similarity, model.align)
    assert verdict == compare_answers(other, one, similarity, model.align)


@given(TEXTS, SIMILARITIES)
def test_an_answer_says_what_it_says(text, similarity):
    """An answer says the same as itself, whatever the white space around it."""
    assert compare_answers(text, text, similarity) == "same"
    assert compare_answers(text, f"\n {text} ", similarity) == "same"


@settings(deadline=None)
@given(TEXTS)
def test_a_no_is_not_a_yes(text):
    """An answer never says the same as one that begins with the opposite."""
    assert compare_answers(f"Yes. {text}", f"No. {text}", 1.0) == "different"


@settings(deadline=None)
@given(TEXTS, SIMILARITIES)
def test_another_number_is_another_answer(text, similarity):
    """One number is never as good as another one, whatever the words around it."""
    words = "".join(letter for letter in text if not letter.isnumeric())
    assert compare_answers(f"{words} 17", f"{words} 23", similarity) == "different"


@settings(deadline=None)
@given(TEXTS, TEXTS, st.floats(-1, 1), st.floats(-1, 1))
def test_nearer_is_never_worse(one, other, less, more):
    """Two answers that are the same at one similarity are the same at every greater one."""
    less, more = sorted((less, more))
    if compare_answers(one, other, less) == "same":
        assert compare_answers(one, other, more) == "same"
