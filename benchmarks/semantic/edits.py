"""Makes pairs of questions that ask the same or nearly the same, from our own phrasings and by small edits of given texts."""

import random
import re
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

from app.likeness.classes import MEMBERS
from app.likeness.question import stem
from app.likeness.words import FILLERS, OPPOSITES, QUESTION_WORDS, SYNONYMS
from benchmarks.semantic.slots import SLOTS

PHRASINGS = Path(__file__).parent / "data" / "phrasings.txt"
Pair = tuple[str, str, int]
Edit = Callable[[str, random.Random], str | None]

STARTS = (
    "Hi, {}", "Hello! {}", "Please {}", "Can you tell me {}", "Could you please tell me {}", "I'd like to know {}", "Quick question: {}",
    "Hey, {}", "so {}", "Do you know {}", "I want to know {}", "Can you explain {}", "um {}", "ok {}",
)  # fmt: skip
ENDS = ("{} Thanks!", "{} please", "{} Thank you", "{} ?", "{}??", "{} cheers", "{} thanks in advance", "{}.", "  {}  ")
# The ways to ask for a manner, for leave and for a thing: any may stand for another of its row.
FRAMES = (
    ("how do i ", "how can i ", "how to ", "how should i ", "what's the best way to ", "what is the way to ", "how could i ",
     "how would i ", "what do i need to do to ", "what should i do to ", "what steps do i take to ", "how do i go about trying to ",
     "is there a way to ", "how do you ", "what is the process to ", "i want to ", "i'd like to know how to "),
    ("can i ", "is it possible to ", "am i able to ", "may i ", "am i allowed to ", "could i ", "is it ok to ", "is it possible for me to "),
    ("what is ", "what's ", "tell me ", "can you tell me ", "do you know what is ", "i need to know ", "which is "),
    ("do i need to ", "do i have to ", "must i ", "is it necessary to ", "am i required to "),
    ("where can i ", "where do i ", "where should i ", "where could i ", "in which place can i "),
    ("why is ", "why's ", "what is the reason that ", "how come "),
    ("do you have ", "are there ", "have you got ", "do you offer "),
    ("who do i ", "who should i ", "whom should i "),
    ("when do i ", "when will i ", "when am i going to "),
    ("how long does it take to ", "how much time does it take to ", "how long will it take to ", "how long do i need to "),
    ("how much does it cost to ", "what does it cost to ", "how much is it to ", "what's the price to ", "what do i pay to "),
)  # fmt: skip
SAME_WORDS = {
    a: group.split()
    for group in """
buy purchase get|show display|need require|remove delete|make create|fix repair|begin start|end finish|help assist|big large|
small little|fast quickly|receive get|send post|change update modify|find locate|choose pick select|job occupation|picture photo image|
wrong incorrect|correct right|cost price|cheap inexpensive|phone telephone mobile|movie film|car automobile|kid child|kids children|
allow permit|ask inquire|answer reply|give provide|tell inform|use utilize|try attempt|keep retain|stop halt|sometimes occasionally|
important essential|happy glad|angry mad|sick ill|doctor physician|lawyer attorney|money cash|store shop|trip journey|house home|
often frequently|maybe perhaps|also too|approximately about roughly|error mistake|problem issue|cancel terminate|replace swap|
obtain get|verify confirm|lost misplaced|stolen nicked|broken damaged|declined rejected|charge fee|reason cause|method way|
difficult hard|easy simple|smart intelligent|film movie|earn make|grow increase|improve better|effective efficient|top best|
""".replace("\n", "").split("|")
    for a in group.split()
}  # fmt: skip
MODIFIERS = (
    "business", "student", "joint", "online", "second", "new", "old", "international", "virtual", "temporary", "monthly", "annual", "free",
    "first", "last", "only", "personal", "corporate", "child", "spare", "premium", "used", "electric", "wireless", "local", "minimum",
    "maximum", "average", "american", "french", "german",
)  # fmt: skip
TAILS = (
    "in {country}", "in {city}", "on {day}", "for my son", "for my wife", "for a business", "at home", "abroad", "on my phone", "by post",
    "without a card", "for free", "on a mac", "on android", "as a student", "after {n} days", "before 2015", "during pregnancy",
    "for beginners", "if i am under 18", "at night", "in winter", "with a credit card", "for {n} people", "using {code}",
)  # fmt: skip
ASKING_SWAPS = {
    "how": ("why", "when", "where"), "why": ("how", "when"), "when": ("where", "why", "how"), "where": ("when", "why", "how"),
    "who": ("when", "where", "why"), "what": ("who", "why", "where"), "can": ("should", "must"), "should": ("can", "why should"),
    "many": ("old", "much"), "long": ("much", "far", "often"), "much": ("long", "often"), "is": ("was", "why is"), "do": ("did", "why do"),
}  # fmt: skip


def fill(text: str, chosen: dict[str, str]) -> str:
    """Put words into the gaps of a phrasing."""
    for name, value in chosen.items():
        text = text.replace("{" + name + "}", value)
    return text


def choose(rng: random.Random) -> dict[str, str]:
    """Draw a filling for every gap, and two different ones where there are two."""
    chosen: dict[str, str] = {}
    for name, values in SLOTS.items():
        chosen[name], chosen[f"{name}2"] = rng.sample(values.split("|"), 2)
    return chosen


def read_chapters() -> list[list[list[str]]]:
    """Return chapters of blocks of lines."""
    lines = "\n".join(line for line in PHRASINGS.read_text().splitlines() if not line.startswith("#"))
    return [[block.strip().splitlines() for block in part.strip().split("\n\n")] for part in lines.split("\n---\n")]


def pair_phrasings(rng: random.Random, times: int) -> Iterator[Pair]:
    """Yield pairs from our phrasings: a block with itself, with another filling, and with its neighbours."""
    for chapter in read_chapters():
        for _ in range(times):
            for block in chapter:
                yield from _pair_block(block, chapter, rng)


def _pair_block(block: list[str], chapter: list[list[str]], rng: random.Random) -> Iterator[Pair]:
    chosen = choose(rng)
    first, second = rng.choice(block), rng.choice(block)
    if first != second:
        yield _dress(fill(first, chosen), fill(second, chosen), 1, rng)
    gaps = re.findall(r"{(\w+)}", first)
    if gaps:
        gap = rng.choice(gaps)
        other = {**chosen, gap: rng.choice([v for v in SLOTS[gap.rstrip("2")].split("|") if v not in chosen.values()])}
        yield _dress(fill(first, chosen), fill(rng.choice((first, second)), other), 0, rng)
    if len(set(gaps)) > 1 and gaps[0].rstrip("2") == gaps[1].rstrip("2") and "between" not in first and " or " not in first:
        turned = {**chosen, gaps[0]: chosen[gaps[1]], gaps[1]: chosen[gaps[0]]}
        if "common" not in first and "similar" not in first and "alike" not in first and "far" not in first:
            yield _dress(fill(first, chosen), fill(first, turned), 0, rng)
    near = rng.choice(chapter)
    if near is not block:
        yield _dress(fill(first, chosen), fill(rng.choice(near), chosen), 0, rng)


def _dress(first: str, second: str, label: int, rng: random.Random) -> Pair:
    """Write the two as people do: with or without capitals, mark and courtesy."""
    return write(first, rng), write(second, rng), label


def write(text: str, rng: random.Random) -> str:
    """Give a lower-case phrasing a capital and a mark, mostly."""
    if rng.random() < 0.7:
        text = text[:1].upper() + text[1:]
    if rng.random() < 0.75 and not text.endswith("?"):
        text += "?"
    return text


def keep_meaning(text: str, rng: random.Random) -> str | None:
    """Say the same in another way."""
    return rng.choice((dress, reframe, reframe, reword, misspell, front, contract, number, reword, refill))(text, rng)


def change_meaning(text: str, rng: random.Random, corpus: "Corpus") -> str | None:
    """Ask something else with nearly the same words."""
    edits: tuple[Edit, ...] = (
        negate, oppose, oppose, change_number, change_member, corpus.replace, corpus.replace, corpus.replace, modify, add_tail, ask_other,
        swap, drop,
    )  # fmt: skip
    return rng.choice(edits)(text, rng)


def dress(text: str, rng: random.Random) -> str | None:
    """Add or remove courtesy, capitals and marks."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(STARTS).format(text[:1].lower() + text[1:])
    if kind == 1:
        return rng.choice(ENDS).format(text)
    if kind == 2:
        return text.upper() if rng.random() < 0.3 else text.lower()
    return text.rstrip("?.! ") or None


def reframe(text: str, rng: random.Random) -> str | None:
    """Ask for a manner, leave or thing in another of the usual ways."""
    low = text.lower()
    for row in FRAMES:
        for frame in row:
            if low.startswith(frame):
                other = rng.choice([f for f in row if f != frame])
                rest = text[len(frame) :]
                return other[:1].upper() + other[1:] + rest if text[:1].isupper() else other + rest
    return None


def reword(text: str, rng: random.Random) -> str | None:
    """Use a synonym."""
    return _replace_word(text, rng, lambda w: [s for s in SAME_WORDS.get(w, []) if s != w])


def refill(text: str, rng: random.Random) -> str | None:
    """Leave out or put in a word that says nothing."""
    words = text.split()
    places = [i for i, w in enumerate(words) if w.lower() in FILLERS and 0 < i]
    if places and rng.random() < 0.6:
        words.pop(rng.choice(places))
        return " ".join(words)
    places = [i for i, w in enumerate(words) if w.lower() in ("my", "the", "is", "are", "i", "a")]
    if not places:
        return None
    words.insert(rng.choice(places) + (0 if rng.random() < 0.3 else 1), rng.choice(("actually", "really", "um", "just")))
    return " ".join(words)


def misspell(text: str, rng: random.Random) -> str | None:
    """Turn two letters of a long word around, double one, or leave one out."""
    words = text.split()
    places = [i for i, w in enumerate(words) if len(w) >= 6 and w.isalpha() and w.lower() not in MEMBERS and w.islower()]
    if not places:
        return None
    at = rng.choice(places)
    word, letter = words[at], rng.randrange(2, len(words[at]) - 2)
    made = (
        word[:letter] + word[letter + 1] + word[letter] + word[letter + 2 :],
        word[:letter] + word[letter + 1 :],
        word[:letter] + word[letter] + word[letter:],
    )
    words[at] = rng.choice(made)
    return " ".join(words)


def front(text: str, rng: random.Random) -> str | None:
    """Bring the last phrase to the front."""
    body = text.rstrip("?. ")
    found = re.search(r"^(.{12,}) ((?:in|on|at|for|from|with|after|before|during) (?:my |the |a |an )?[\w-]+(?: [\w-]+)?)$", body)
    if found is None or found[1].split()[-1].lower() in ("is", "are", "go", "come", "get", "and", "or", "up", "top", "take"):
        return None
    start, phrase = found[1], found[2]
    return f"{phrase[:1].upper()}{phrase[1:]}, {start[:1].lower()}{start[1:]}?"


def contract(text: str, rng: random.Random) -> str | None:
    """Write the short form in full, or the full form short."""
    del rng
    forms = (("What is", "What's"), ("what is", "what's"), ("do not", "don't"), ("is not", "isn't"), ("can not", "can't"), ("I am", "I'm"),
             ("I have", "I've"), ("How is", "How's"), ("does not", "doesn't"), ("where is", "where's"), ("Where is", "Where's"))  # fmt: skip
    for full, short in forms:
        for a, b in ((full, short), (short, full)):
            if a in text:
                return text.replace(a, b)
    return text.replace("'", "") if "'" in text else None


_DIGITS = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "ten": "10", "twelve": "12", "twenty": "20"}


def number(text: str, rng: random.Random) -> str | None:
    """Write a number word in digits, or digits as a word."""
    both = {**_DIGITS, **{digits: word for word, digits in _DIGITS.items()}}
    return _replace_word(text, rng, lambda w: [both[w]] if w in both else [])


def negate(text: str, rng: random.Random) -> str | None:
    """Put a "not" in, or take it out."""
    if re.search(r"n't\b| not\b", text):
        return re.sub(r"n't\b| not\b", "", text, count=1)
    verbs = re.findall(r"\b(?:is|are|do|does|can|should|will|did|was|has|have|would|could)\b", text)
    if not verbs:
        return None
    verb = rng.choice(verbs)
    short = {"can": "can't", "will": "won't"}.get(verb, f"{verb}n't")
    if rng.random() < 0.5:
        return re.sub(rf"\b{verb}\b", short, text, count=1)
    return re.sub(rf"\b{verb}(?: (i|you|it|we|they|my \w+|the \w+)\b)?", lambda m: f"{m[0]} not", text, count=1)


def oppose(text: str, rng: random.Random) -> str | None:
    """Use the opposite word."""
    return _replace_word(text, rng, lambda w: sorted(OPPOSITES.get(w, ())))


def change_number(text: str, rng: random.Random) -> str | None:
    """Change a number a little or a lot."""
    numbers = list(re.finditer(r"\d+", text))
    if not numbers:
        return None
    found = rng.choice(numbers)
    value = int(found[0])
    other = rng.choice((value + 1, value * 10, value * 2, max(value - 1, 0), value + 10, rng.randrange(1, 100)))
    return None if other == value else text[: found.start()] + str(other) + text[found.end() :]


_CLASS_MEMBERS: dict[str, list[str]] = {}
for _member, _class in MEMBERS.items():
    _CLASS_MEMBERS.setdefault(_class, []).append(_member)


def change_member(text: str, rng: random.Random) -> str | None:
    """Put another country, day, colour ... in."""
    return _replace_word(text, rng, lambda w: [m for m in _CLASS_MEMBERS.get(MEMBERS.get(w, ""), []) if SYNONYMS.get(m, m) != SYNONYMS.get(w, w) and m.rstrip("s") != w.rstrip("s")])


def modify(text: str, rng: random.Random) -> str | None:
    """Narrow a thing down."""
    words = text.split()
    places = [i for i, w in enumerate(words[:-1]) if w.lower() in ("my", "the", "a", "an", "your")]
    modifier = rng.choice(MODIFIERS)
    if not places or modifier in text.lower():
        return None
    words.insert(rng.choice(places) + 1, modifier)
    return " ".join(words)


def add_tail(text: str, rng: random.Random) -> str | None:
    """Narrow the question down."""
    tail = fill(rng.choice(TAILS), choose(rng))
    return f"{text.rstrip('?. ')} {tail}{'?' if text.endswith('?') else ''}"


def ask_other(text: str, rng: random.Random) -> str | None:
    """Ask when instead of where."""
    words = text.split()
    for at, word in enumerate(words[:2]):
        if word.lower() in ASKING_SWAPS:
            words[at] = rng.choice(ASKING_SWAPS[word.lower()])
            return " ".join(words)
    return None


def swap(text: str, rng: random.Random) -> str | None:
    """Let two things change places around a word that tells them apart."""
    found = re.search(r"\b((?:my |the |a )?[\w-]+) (from|to|than|into|before|after|with|for|of|by|over|against) ((?:my |the |a )?[\w-]+)\b", text)
    if found is None or found[1].lower() == found[3].lower() or rng.random() < 0.1:
        return None
    if found[1].split()[-1].lower() in FILLERS | QUESTION_WORDS | {"is", "are", "i", "have", "want", "how"}:
        return None
    return f"{text[: found.start()]}{found[3]} {found[2]} {found[1]}{text[found.end() :]}"


def drop(text: str, rng: random.Random) -> str | None:
    """Leave out a word that carries meaning."""
    words = text.split()
    places = [i for i, w in enumerate(words) if i > 1 and len(w) > 4 and w.strip("?.,").isalpha() and w.lower() not in FILLERS]
    if len(places) < 3:
        return None
    words.pop(rng.choice(places[:-1]))
    return " ".join(words)


def _replace_word(text: str, rng: random.Random, find: Callable[[str], list[str]]) -> str | None:
    parts = re.split(r"([A-Za-z0-9'-]+)", text)
    places = [(i, options) for i in range(1, len(parts), 2) if (options := find(parts[i].lower()))]
    if not places:
        return None
    at, options = rng.choice(places)
    new = rng.choice(options)
    parts[at] = new[:1].upper() + new[1:] if parts[at][:1].isupper() else new
    return "".join(parts)


class Corpus:
    """Words that stood between the same two neighbours somewhere: what can take each other's place."""

    def __init__(self, texts: list[str]) -> None:
        self._between: dict[tuple[str, str], set[str]] = {}
        for text in texts:
            words = ["", *re.findall(r"[a-z0-9'-]+", text.lower()), ""]
            for before, word, after in zip(words, words[1:], words[2:], strict=False):
                if len(word) > 2 and word not in FILLERS:
                    self._between.setdefault((before, after), set()).add(word)

    def replace(self, text: str, rng: random.Random) -> str | None:
        """Put another word in the place of one that carries meaning."""
        words = text.split()
        plain = ["", *(w.lower().strip("?.,!") for w in words), ""]
        places: list[tuple[int, list[str]]] = []
        for at, word in enumerate(plain[1:-1]):
            if len(word) > 3 and word not in QUESTION_WORDS and word not in FILLERS:
                others = [o for o in self._between.get((plain[at], plain[at + 2]), ()) if _differs(word, o)]
                if others:
                    places.append((at, sorted(others)))
        if not places:
            return None
        at, others = rng.choice(places)
        words[at] = words[at].lower().replace(plain[at + 1], rng.choice(others))
        return " ".join(words)


_WEAK = set("does will would could should have has had been with from that this these those them they just also get got".split())


def _differs(word: str, other: str) -> bool:
    if len(other) < 4 or other in _WEAK or word in _WEAK or other in SAME_WORDS.get(word, ()):
        return False
    return stem(word)[:4] != stem(other)[:4]


def pair_edits(texts: list[str], rng: random.Random, times: int) -> Iterator[Pair]:
    """Yield pairs of a text and an edit of it; on both sides something that changes nothing may be done as well."""
    corpus = Corpus(texts)
    for text in texts:
        for _ in range(times):
            same = keep_meaning(text, rng)
            if same and rng.random() < 0.5:
                same = keep_meaning(same, rng) or same
            if same and same != text:
                yield (text, same, 1)
            changed = change_meaning(text, rng, corpus)
            if changed and changed.lower() != text.lower():
                if rng.random() < 0.35:
                    changed = keep_meaning(changed, rng) or changed
                yield (text, changed, 0)


def pair_same_intent(rows: list[tuple[str, str]], rng: random.Random, count: int) -> Iterator[tuple[str, str]]:
    """Yield pairs of texts of one intent."""
    by_intent: dict[str, list[str]] = {}
    for text, intent in rows:
        by_intent.setdefault(intent, []).append(text)
    for texts in by_intent.values():
        pairs = list(combinations(texts, 2))
        yield from rng.sample(pairs, min(count, len(pairs)))
