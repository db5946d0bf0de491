"""Makes small edits of given texts, some of which change what is asked and some of which do not."""

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from app.likeness.alike import ALIKE
from app.likeness.classes import MEMBERS
from app.likeness.telling import list_classes
from app.likeness.words import FILLERS, OPPOSITES, QUESTION_WORDS
from benchmarks.semantic.corpus import Corpus
from benchmarks.semantic.phrasings import DATA, Pair, choose, fill

Edit = Callable[[str, random.Random], str | None]


def _read_sections(path: Path) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        if line.startswith("["):
            sections[line.strip("[]")] = []
        elif not line.startswith("#"):
            sections[next(reversed(sections))].append(line.replace("_", " "))
    return sections


_SECTIONS = _read_sections(DATA / "edits.txt")
# The ways to ask for a manner, for leave and for a thing: any may stand for another of its row.
FRAMES = [[f"{frame} " for frame in row.split("|")] for row in _SECTIONS["frames"]]
ASKING_SWAPS = {row.split("|")[0]: row.split("|")[1:] for row in _SECTIONS["asking"]}


def keep_meaning(text: str, rng: random.Random) -> str | None:
    """Say the same in another way."""
    return rng.choice((dress, reframe, reframe, reword, misspell, front, contract, number, reword, refill))(text, rng)


def change_meaning(text: str, rng: random.Random, corpus: Corpus) -> str | None:
    """Ask something else with nearly the same words."""
    edits: tuple[Edit, ...] = (
        negate, oppose, oppose, change_number, change_member, corpus.replace, corpus.replace, corpus.replace, modify,
        add_tail, ask_other, swap, drop,
    )  # fmt: skip
    return rng.choice(edits)(text, rng)


def dress(text: str, rng: random.Random) -> str | None:
    """Add or remove courtesy, capitals and marks."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(_SECTIONS["starts"]).format(text[:1].lower() + text[1:])
    if kind == 1:
        return rng.choice(_SECTIONS["ends"]).format(text)
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
    return _replace_word(text, rng, lambda w: [s for s in ALIKE.get(w, ()) if s != w])


def refill(text: str, rng: random.Random) -> str | None:
    """Leave out or put in a word that says nothing."""
    words = text.split()
    places = [i for i, w in enumerate(words) if w.lower() in FILLERS and i > 0]
    if places and rng.random() < 0.6:
        words.pop(rng.choice(places))
        return " ".join(words)
    places = [i for i, w in enumerate(words) if w.lower() in ("my", "the", "is", "are", "i", "a")]
    if not places:
        return None
    words.insert(
        rng.choice(places) + (0 if rng.random() < 0.3 else 1), rng.choice(("actually", "really", "um", "just"))
    )
    return " ".join(words)


def misspell(text: str, rng: random.Random) -> str | None:
    """Turn two letters of a long word around, double one, or leave one out."""
    words = text.split()
    places = [
        i for i, w in enumerate(words) if len(w) >= 6 and w.isalpha() and w.lower() not in MEMBERS and w.islower()
    ]
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


_NEEDS_MORE = {"is", "are", "go", "come", "get", "and", "or", "up", "top", "take"}


def front(text: str, _rng: random.Random) -> str | None:
    """Bring the last phrase to the front."""
    body = text.rstrip("?. ")
    found = re.search(
        r"^(.{12,}) ((?:in|on|at|for|from|with|after|before|during) (?:my |the |a |an )?[\w-]+(?: [\w-]+)?)$", body
    )
    if found is None or found[1].split()[-1].lower() in _NEEDS_MORE:
        return None
    start, phrase = found[1], found[2]
    return f"{phrase[:1].upper()}{phrase[1:]}, {start[:1].lower()}{start[1:]}?"


def contract(text: str, rng: random.Random) -> str | None:
    """Write the short form in full, or the full form short."""
    forms = [
        "What is/What's",
        "what is/what's",
        "do not/don't",
        "is not/isn't",
        "can not/can't",
        "I am/I'm",
        "I have/I've",
    ]
    forms += ["How is/How's", "does not/doesn't", "where is/where's", "Where is/Where's"]
    rng.shuffle(forms)
    for full, short in (form.split("/") for form in forms):
        for a, b in ((full, short), (short, full)):
            if a in text:
                return text.replace(a, b)
    return text.replace("'", "") if "'" in text else None


_DIGITS = {
    "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "ten": "10",
}  # fmt: skip


def number(text: str, rng: random.Random) -> str | None:
    """Write a number word in digits, or digits as a word."""
    both = {**_DIGITS, **{digits: word for word, digits in _DIGITS.items()}}
    return _replace_word(text, rng, lambda w: [both[w]] if w in both else [])


def negate(text: str, rng: random.Random) -> str | None:
    """Put a "not" in, or take it out."""
    if re.search(r"n't\b| not\b", text):
        return re.sub(r"n't\b| not\b", "", text, count=1)
    verbs = re.findall(r"\b(?:is|are|do|does|can|should|will|did|was|has|have|would|could)\b(?!')", text)
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
    return _replace_word(
        text,
        rng,
        lambda w: [m for m in _CLASS_MEMBERS.get(MEMBERS.get(w, ""), []) if list_classes((m,)) != list_classes((w,))],
    )


def modify(text: str, rng: random.Random) -> str | None:
    """Narrow a thing down."""
    words = text.split()
    places = [i for i, w in enumerate(words[:-1]) if w.lower() in ("my", "the", "a", "an", "your")]
    modifier = rng.choice(_SECTIONS["modifiers"])
    if not places or modifier in text.lower():
        return None
    words.insert(rng.choice(places) + 1, modifier)
    return " ".join(words)


def add_tail(text: str, rng: random.Random) -> str | None:
    """Narrow the question down."""
    tail = fill(rng.choice(_SECTIONS["tails"]), choose(rng))
    return f"{text.rstrip('?. ')} {tail}{'?' if text.endswith('?') else ''}"


def ask_other(text: str, rng: random.Random) -> str | None:
    """Ask when instead of where."""
    words = text.split()
    for at, word in enumerate(words[:2]):
        # "Can you tell me" is no question of its own.
        if word.lower() in ASKING_SWAPS and words[at + 1 : at + 2] != ["you"]:
            words[at] = rng.choice(ASKING_SWAPS[word.lower()])
            return " ".join(words)
    return None


def swap(text: str, rng: random.Random) -> str | None:
    """Let two things change places around a word that tells them apart."""
    thing = r"((?:my |the |a )?[\w-]+)"
    found = re.search(rf"\b{thing} (from|to|than|into|before|after|with|for|of|by|over|against) {thing}\b", text)
    if found is None or found[1].lower() == found[3].lower() or rng.random() < 0.1:
        return None
    if found[1].split()[-1].lower() in FILLERS | QUESTION_WORDS | {"is", "are", "i", "have", "want", "how"}:
        return None
    return f"{text[: found.start()]}{found[3]} {found[2]} {found[1]}{text[found.end() :]}"


# What a sentence needs to stand, and what comes before a verb: without either it is broken, and asks nothing else.
_LITTLE = FILLERS | {
    *("about", "there", "would", "could", "should", "using", "through", "which", "where", "please", "while", "between"),
    *("during", "without", "under", "after", "before", "until", "since", "trying", "going", "wanted", "might", "being"),
}
_VERB_FOLLOWS = {
    *("to", "i", "you", "we", "they", "it", "one", "can", "could", "do", "does", "did", "will", "would", "should"),
    *("not", "am", "is", "are", "was", "were", "be", "been", "has", "have", "had", "when", "while", "after", "without"),
}


def drop(text: str, rng: random.Random) -> str | None:
    """Leave out a word that tells which thing is meant."""
    words = text.split()
    plain = [word.lower().strip("?.,!") for word in words]
    places = [
        at
        for at, word in enumerate(plain)
        if at > 1
        and len(word) > 4
        and word.isalpha()
        and word not in _LITTLE
        and not word.endswith(("ly", "ing", "ed"))
        and plain[at - 1] not in _VERB_FOLLOWS
    ]
    if len(places) < 2:
        return None
    words.pop(rng.choice(places))
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
