"""What must come back unread: a provider's signatures, kept in a reasoning item's `encrypted_content`."""

import msgspec

_MARK = "relaycore:"


class Seal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A provider's opaque words; `call` is the id of the tool call that `signature` belongs to, if not to a thought."""

    signature: str | None = None
    redacted: str | None = None
    call: str | None = None


_decoder = msgspec.json.Decoder(Seal)


def write_seal(seal: Seal) -> str | None:
    """Return the text that `read_seal` understands, None when there is nothing to keep."""
    if seal.signature is None and seal.redacted is None:
        return None
    return _MARK + msgspec.json.encode(seal).decode()


def read_seal(text: str | None) -> Seal:
    """Return what `write_seal` wrote; an empty seal for what OpenAI encrypted, which nobody else can read."""
    if text is None or not text.startswith(_MARK):
        return Seal()
    try:
        return _decoder.decode(text[len(_MARK) :])
    except msgspec.DecodeError:
        return Seal()
