"""Two spellings of one question are read as one."""

import pytest

from app.likeness.question import read_question
from app.likeness.stems import stem, stem_plural


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What's the capital of France?", "what is the capital of france"),
        ("What\u2019s the capital of France?", "Tell me the capital of France"),
        ("Can you please tell me what the capital of France is? Thanks!", "What the capital of France is"),
        ("How do I reset a password?", "how can you reset the passwords"),
        ("How to reset a password", "Hi, how should one reset a password please?"),
        ("Is 5mg enough?", "Is five milligrams enough"),
        ("What is 1,000 USD in pounds", "What is $1000 in pounds"),
        ("Which dog is best?", "What dog is best?"),
        ("\uff57hat is \uff50ython", "What is Python?"),
        ("Where can I find the U.S. embassy?", "Where do I find the United States embassy"),
        ("Why don't cats swim?", "Why do not cats swim"),
        ("How many days are in a year?", "how many day are in the year"),
    ],
)
def test_spellings_of_one_question(one, other):
    """Courtesies, contractions, articles, plurals, number words and marks leave nothing behind."""
    a, b = read_question(one), read_question(other)
    assert (a.asks, a.content, a.amounts) == (b.asks, b.content, b.amounts)


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("Who wrote it?", "who"), ("whom do I call", "who"), ("When is it?", "when"), ("Where is it", "where"),
        ("Why not?", "why"), ("How come it rains?", "why"), ("How many are there", "how_many"),
        ("how much is it", "how_much"),
        ("How long is it", "how_long"), ("How old is he", "how_old"), ("Can I go?", "can"), ("May I go?", "can"),
        ("Is it open?", "be"), ("Was it open?", "was"), ("Did it open?", "did"), ("Should I go?", "should"),
        ("give me the time", "what"), ("tell me why it rains", "why"), ("In which city is it?", "_what"),
        ("Boil an egg", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_what_is_asked(text, asks):
    """The asking word is found at the start, and marked where it stands later."""
    assert read_question(text).asks == asks


@pytest.mark.parametrize(
    ("text", "amounts"),
    [
        ("take 5 mg every 4hrs", ("4 hour", "5 mg")),
        ("twenty-five percent of 1,000.00", ("1000.00", "25 percent")),
        ("£1,000.00 or 10%", ("10 percent", "1000 gbp")),
        ("two hundred and fifty thousand people", ("250000",)),
        ("one two three", ("2", "3")),
        ("one of the best", ()),
        ("one hundred", ("100",)),
        ("one day", ("1 day",)),
        ("the second law", ("2nd",)),
        ("a second later", ()),
        ("21st of March 2024", ("2024", "21st")),
        ("World War II", ("2",)),
        ("iPhone 6s", ("6s",)),
        ("half an hour, twice", ("0.5", "2x")),
        ("at 7am", ("7 am",)),
        ("three million five", ("3000005",)),
        ("24/7 at 10:30", ("10:30", "24/7")),
    ],
)
def test_amounts(text, amounts):
    """Numbers are read with their units, in words or digits, and "one" only where it counts."""
    assert read_question(text).amounts == amounts


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("What is Python used for?", {"python"}),
        ("what is python used for?", set()),
        ("How Do I Learn Python Fast", set()),
        ("I love London. Is Paris nice?", {"london", "paris"}),
        ("Is NASA hiring?", {"nasa"}),
        ("Can I'm be?", set()),
        ("What is Mary's number?", {"mary"}),
    ],
)
def test_names(text, names):
    """A capital inside a sentence makes a name, unless every word has one."""
    assert read_question(text).names == names


@pytest.mark.parametrize(
    ("text", "readable"),
    [("What?", True), ("東京はどこ", False), ("Где Москва?", False), ("Où est Paris", True), ("🙂", False)],
)
def test_readable(text, readable):
    """Only what is written in Latin letters can be judged by our lists of words."""
    assert read_question(text).readable is readable


def test_quoted():
    """What stands between quotation marks is kept as it is, an apostrophe is none."""
    assert read_question("""What does "Carpe Diem" mean, don't you know 'et cetera'?""").quoted == (
        "carpe diem",
        "et cetera",
    )


def test_negations_are_counted():
    """Every word that denies counts, written together or not."""
    assert read_question("Why can't nobody help without money?").negations == 3


@pytest.mark.parametrize(
    "text", ["", " ", "?", "'s", "...", "$", "-", "a" * 5000, "\x00\ud800", "how", "which", "tell me"]
)
def test_reads_anything(text):
    """Whatever the text, reading it is not an error."""
    assert read_question(text).text == text


@pytest.mark.parametrize(
    ("word", "root"),
    [
        ("booking", "book"),
        ("booked", "book"),
        ("stopped", "stop"),
        ("cities", "city"),
        ("bus", "bus"),
        ("boxes", "box"),
    ],
)
def test_stem(word, root):
    """Forms of a word share a stem."""
    assert stem(word) == root


def test_stem_plural_leaves_singulars():
    """A word that only ends like a plural stays."""
    assert [stem_plural(word) for word in ("glass", "virus", "gas", "this")] == ["glass", "virus", "gas", "this"]
