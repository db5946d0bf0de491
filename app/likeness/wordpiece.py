"""Cuts text into the word pieces of an uncased BERT vocabulary."""

import unicodedata
from functools import lru_cache

UNKNOWN = "[UNK]"
START = "[CLS]"
END = "[SEP]"
LONGEST_WORD = 100
CACHED_WORDS = 20_000
_CJK = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F))


class WordPieces:
    """Text to ids, without the two marks around it. Safe to share between threads."""

    def __init__(self, vocabulary: dict[str, int]) -> None:
        self._ids = vocabulary
        self._unknown = [vocabulary[UNKNOWN]]
        self.start = vocabulary[START]
        self.end = vocabulary[END]
        self._cut = lru_cache(CACHED_WORDS)(self._cut_word)

    def read(self, text: str) -> list[int]:
        """Return the ids of `text`."""
        return [piece for word in split_words(text) for piece in self._cut(word)]

    def _cut_word(self, word: str) -> list[int]:
        """Take the longest known piece, again and again; a word with a part that is not known is unknown as a whole."""
        if len(word) > LONGEST_WORD:
            return self._unknown
        pieces: list[int] = []
        start = 0
        while start < len(word):
            end = self._find_end(word, start)
            if end == start:
                return self._unknown
            pieces.append(self._ids[_name_piece(word, start, end)])
            start = end
        return pieces

    def _find_end(self, word: str, start: int) -> int:
        for end in range(len(word), start, -1):
            if _name_piece(word, start, end) in self._ids:
                return end
        return start


def split_words(text: str) -> list[str]:
    """Return words and punctuation marks in lower case without accents, as the vocabulary was made from."""
    if text.isascii():
        return _space_out(text.lower()).split()
    plain = unicodedata.normalize("NFD", text)
    return _space_out("".join(c for c in plain if unicodedata.category(c) != "Mn").lower()).split()


def _space_out(text: str) -> str:
    return "".join(_read_character(c) for c in text)


@lru_cache(4096)
def _read_character(character: str) -> str:
    """Return `character` with space around it where it is a word of its own, and nothing for what does not print."""
    if character.isalnum() and not _is_cjk(character):
        return character
    if character in "\t\n\r":
        return " "
    kind = unicodedata.category(character)
    if kind.startswith("C") or character == "\ufffd":
        return ""
    alone = kind.startswith("P") or (character.isascii() and not character.isspace()) or _is_cjk(character)
    return f" {character} " if alone else character


def _is_cjk(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in _CJK)


def _name_piece(word: str, start: int, end: int) -> str:
    return word[start:end] if start == 0 else f"##{word[start:end]}"
