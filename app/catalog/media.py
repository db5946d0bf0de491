"""Allowances for pictures, recordings and files: what they may be in tokens, told from their size alone.

Vendors count what is in them (pixels, seconds, pages), which takes decoding them to know. The allowances are on the
safe side for what people send; what a call really used settles the difference.
"""

from app.providers.exact_json import as_list, is_fields

# Recordings: the vendors count 10 to 32 tokens a second. Uncompressed speech has at least 16,000 bytes a second,
# compressed speech at least 2,000.
LEAST_AUDIO_TOKENS = 100
LINKED_AUDIO_TOKENS = 20_000
RAW_BYTES_A_TOKEN = 500
COMPRESSED_BYTES_A_TOKEN = 64

# Files: a page of a PDF counts as its text and as a picture, 1,500 to 4,500 tokens, and has some 30 kB or more; what is
# no PDF is taken for text.
LINKED_FILE_TOKENS = 32_000
LEAST_FILE_TOKENS = 5_000
PDF_BYTES_A_TOKEN = 10
TEXT_BYTES_A_TOKEN = 2

_LONGEST_LINK = 2_048
_DATA_URL_HEAD = 128


def list_strings(value: object) -> list[str]:
    """Return all texts in a JSON value."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if is_fields(value) else as_list(value) or ()
    return [text for one in inner for text in list_strings(one)]


def find_data_url(text: str) -> str | None:
    """Return the media type of a text that is a data URL."""
    if not text.startswith("data:"):
        return None
    head, comma, _ = text[5:_DATA_URL_HEAD].partition(",")
    return head.partition(";")[0].lower() if comma and "base64" in head else None


def count_audio(strings: list[str]) -> int:
    """Return the allowance of a recording, given the texts of its part: the longest is the recording."""
    payload, notes = _split(strings)
    if len(payload) <= _LONGEST_LINK:
        return LINKED_AUDIO_TOKENS if payload.startswith("http") else LEAST_AUDIO_TOKENS
    raw = any(mark in note for note in notes for mark in ("wav", "pcm"))
    return max(LEAST_AUDIO_TOKENS, _decoded(payload) // (RAW_BYTES_A_TOKEN if raw else COMPRESSED_BYTES_A_TOKEN))


def count_file(strings: list[str]) -> int:
    """Return the allowance of a file, given the texts of its part: the longest is the file, its name or its address."""
    payload, notes = _split(strings)
    if len(payload) <= _LONGEST_LINK and find_data_url(payload) is None:
        return LINKED_FILE_TOKENS
    pdf = any("pdf" in note for note in notes) or payload.startswith("JVBERi")  # "%PDF-" in base64
    return LEAST_FILE_TOKENS + _decoded(payload) // (PDF_BYTES_A_TOKEN if pdf else TEXT_BYTES_A_TOKEN)


def _split(strings: list[str]) -> tuple[str, list[str]]:
    """Return the longest text, and what may tell its kind: the others and its own beginning."""
    payload = max(strings, key=len, default="")
    return payload, [text[:_DATA_URL_HEAD].lower() for text in strings if text is not payload or ":" in text[:8]]


def _decoded(base64: str) -> int:
    return len(base64) * 3 // 4
