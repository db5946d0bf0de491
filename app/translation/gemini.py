"""Google's Gemini API (generateContent) as a provider's dialect."""

from urllib.parse import quote

from app.errors import BadRequestError
from app.providers.exact_json import Fields, write_exact
from app.providers.protocol import ProviderDialect
from app.translation.gemini_config import build_generation, build_tier, build_tools
from app.translation.gemini_contents import build_contents
from app.translation.gemini_reply import parse_chat
from app.translation.gemini_stream import GeminiReader
from app.translation.refusing import refuse_fields
from app.wire.chat import ChatCall

_NO_WORDS = ("logit_bias", "verbosity")


def find_path(model: str, stream: bool) -> str:
    """Return the path of a call; `model` with or without its collection ("models/", "tunedModels/")."""
    tuned = model.startswith("tunedModels/")
    name = model.removeprefix("tunedModels/" if tuned else "models/")
    try:
        quoted = quote(name, safe="")
    except UnicodeEncodeError:
        raise BadRequestError("model: holds half a surrogate pair.", param="model") from None
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return f"/{'tunedModels' if tuned else 'models'}/{quoted}:{method}"


def build_chat(call: ChatCall) -> bytes:
    """Return the body of a call."""
    refuse_fields(call, "Gemini", _NO_WORDS)
    fields: Fields = build_contents(call) | build_tools(call) | build_tier(call)
    generation = build_generation(call)
    return write_exact(fields | {"generationConfig": generation} if generation else fields)


GEMINI_PROVIDER = ProviderDialect(
    path=find_path, build_chat=build_chat, parse_chat=parse_chat, open_reader=GeminiReader
)
