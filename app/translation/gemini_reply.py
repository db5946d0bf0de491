"""What Gemini answers: candidates, why they ended, tokens and errors."""

import hashlib
import time

from app.providers.exact_json import Fields, as_list, get_fields, get_index, get_items, is_fields, write_exact
from app.providers.usage import read_count, read_tier
from app.translation.answers import PartFeed, collect_parts, need_text, read_answer, write_arguments
from app.translation.gemini_marks import SIGNATURE
from app.wire.chat import ChatReply, Choice, Event, Failed, Finish, Json, ToolUse
from app.wire.ids import make_uuid7
from app.wire.usage import Usage

SOUND, IMAGE = "AUDIO", "IMAGE"
_BROKEN = {
    "MALFORMED_FUNCTION_CALL",
    "MALFORMED_RESPONSE",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
}
"""Reasons that say the model's output is no answer at all."""

_FINISHES: dict[str, Finish] = {"STOP": "stop", "MAX_TOKENS": "length"}

_KINDS = {
    "INVALID_ARGUMENT": "invalid_request_error",
    "FAILED_PRECONDITION": "invalid_request_error",
    "OUT_OF_RANGE": "invalid_request_error",
    "UNAUTHENTICATED": "authentication_error",
    "PERMISSION_DENIED": "permission_error",
    "NOT_FOUND": "not_found_error",
    "RESOURCE_EXHAUSTED": "rate_limit_error",
    "UNAVAILABLE": "overloaded_error",
    "DEADLINE_EXCEEDED": "timeout_error",
}


def parse_chat(body: bytes) -> ChatReply:
    """Return a whole answer; a prompt that was blocked is an answer without words."""
    fields = read_answer(body)
    candidates = get_items(fields, "candidates")
    name = make_id(fields)
    choices = [_read_choice(name, candidate) for candidate in candidates]
    if not choices:
        if not is_blocked(fields):
            raise ValueError("no candidates")
        choices = [Choice(finish="content_filter")]
    usage = read_usage(fields.get("usageMetadata"))
    return ChatReply(
        id=name,
        model=read_model(fields),
        created=int(time.time()),
        choices=tuple(choices),
        usage=usage,
        service_tier=usage.service_tier if usage else None,
    )


def make_id(fields: Fields) -> str:
    """Return the id of an answer: Gemini's own where it gives one."""
    return read_tier(fields.get("responseId")) or f"gemini-{make_uuid7().hex}"


def read_model(fields: Fields) -> str:
    """Return the model that answered, "" when Gemini does not say."""
    return read_tier(fields.get("modelVersion")) or ""


def is_blocked(fields: Fields) -> bool:
    """Return whether Gemini refused the prompt itself."""
    return bool(get_fields(fields, "promptFeedback").get("blockReason"))


def _read_choice(name: str, candidate: Fields) -> Choice:
    pieces = Pieces(f"{name}/{get_index(candidate)}")
    events = pieces.add(candidate) + pieces.parts.end()
    reason = need_text(candidate, "finishReason")
    broken = find_breakage(reason)
    if broken is not None:
        raise ValueError(broken)
    return Choice(
        index=get_index(candidate),
        parts=collect_parts(events),
        finish=read_finish(reason, called=pieces.called),
        logprobs=read_logprobs(candidate.get("logprobsResult")),
    )


def find_breakage(reason: str) -> str | None:
    """Return what to say of an answer that ended because the model's output broke."""
    return f"The model's answer broke off: {reason}." if reason in _BROKEN else None


def read_finish(reason: str, *, called: bool) -> Finish:
    """Return why an answer ended; every reason but the two ordinary ones is the provider holding it back."""
    finish = _FINISHES.get(reason, "content_filter")
    return "tool_use" if called and finish == "stop" else finish


class Pieces:
    """Reads the parts of one candidate as they come, whole or in pieces."""

    __slots__ = ("_calls", "_seed", "called", "parts")

    def __init__(self, seed: str) -> None:
        self.parts = PartFeed()
        self.called = False
        self._seed = seed
        self._calls = 0

    def add(self, candidate: Fields) -> list[Event]:
        """Return the events of what a candidate holds."""
        events: list[Event] = []
        logprobs = read_logprobs(candidate.get("logprobsResult"))
        for part in get_items(get_fields(candidate, "content"), "parts"):
            text, call = part.get("text"), part.get("functionCall")
            signature = read_tier(part.get("thoughtSignature"))
            if is_fields(call):
                events += self._add_call(call, signature)
            elif isinstance(text, str) and part.get("thought") is True:
                events += self.parts.add_thinking(text) + self._sign(signature)
            elif isinstance(text, str):
                events += self.parts.add_text(text, logprobs) + self._sign(signature)
                logprobs = None
        return events

    def _sign(self, signature: str | None) -> list[Event]:
        return self.parts.sign(SIGNATURE + signature) if signature else []

    def _add_call(self, call: Fields, signature: str | None) -> list[Event]:
        self.called = True
        use = ToolUse(
            id=read_tier(call.get("id")) or self._make_call_id(),
            name=need_text(call, "name"),
            arguments=write_arguments(call.get("args")),
            signature=signature,
        )
        self._calls += 1
        return self.parts.add_part(use)

    def _make_call_id(self) -> str:
        """Return an id that is the same however often and in whatever pieces the answer is read."""
        digest = hashlib.sha256(f"{self._seed}/{self._calls}".encode("utf-8", "replace")).hexdigest()
        return f"call_{digest[:24]}"


def read_usage(raw: object) -> Usage | None:
    """Return the token classes; None when the prompt was not counted.

    The prompt's count includes what was cached and leaves out the results of Google's own tools; the candidates' count
    leaves out thoughts, unless the total shows otherwise.
    """
    if not is_fields(raw) or (prompt := read_count(raw.get("promptTokenCount"))) is None:
        return None
    tools, thoughts = (read_count(raw.get(key)) or 0 for key in ("toolUsePromptTokenCount", "thoughtsTokenCount"))
    output, total = read_count(raw.get("candidatesTokenCount")), read_count(raw.get("totalTokenCount"))
    if output is None:
        output = max(total - prompt - tools - thoughts, 0) if total is not None else 0
    elif total == prompt + tools + output:
        output -= min(thoughts, output)
    cached = min(read_count(raw.get("cachedContentTokenCount")) or 0, prompt)
    heard, seen = _count_fresh(raw, prompt - cached)
    spoken = min(_count_kind(raw, "candidatesTokensDetails", SOUND), output)
    drawn = min(_count_kind(raw, "candidatesTokensDetails", IMAGE), output - spoken)
    return Usage(
        input_tokens=prompt - cached - heard - seen + tools,
        cache_read_tokens=cached,
        input_audio_tokens=heard,
        input_image_tokens=seen,
        output_tokens=output - spoken - drawn,
        reasoning_tokens=thoughts,
        output_audio_tokens=spoken,
        output_image_tokens=drawn,
        service_tier=read_tier(raw.get("serviceTier")),
    )


def _count_fresh(raw: Fields, fresh: int) -> tuple[int, int]:
    """Return how many of the tokens that no cache gave are sound, and how many are images."""
    given, cached = "promptTokensDetails", "cacheTokensDetails"
    heard = max(_count_kind(raw, given, SOUND) - _count_kind(raw, cached, SOUND), 0)
    seen = max(_count_kind(raw, given, IMAGE) - _count_kind(raw, cached, IMAGE), 0)
    heard = min(heard, fresh)
    return heard, min(seen, fresh - heard)


def _count_kind(raw: Fields, key: str, kind: str) -> int:
    details = [detail for detail in as_list(raw.get(key)) or [] if is_fields(detail)]
    return sum(read_count(detail.get("tokenCount")) or 0 for detail in details if detail.get("modality") == kind)


def read_logprobs(raw: object) -> Json | None:
    """Return log probabilities in OpenAI's form."""
    if not is_fields(raw):
        return None
    chosen, tops = get_items(raw, "chosenCandidates"), get_items(raw, "topCandidates")
    content = [
        _read_token(token) | {"top_logprobs": [_read_token(top) for top in get_items(others, "candidates")]}
        for token, others in zip(chosen, tops + [{}] * len(chosen), strict=False)
    ]
    return Json(write_exact({"content": content, "refusal": None}))


def _read_token(raw: Fields) -> Fields:
    token = raw.get("token")
    text = token if isinstance(token, str) else ""
    return {"token": text, "logprob": raw.get("logProbability", 0), "bytes": list(text.encode())}


def parse_error(body: bytes) -> Failed:
    """Return what an error of Gemini's says; never raises."""
    try:
        error = get_fields(read_answer(body), "error")
    except ValueError:
        error = {}
    return read_error(error)


def read_error(error: Fields) -> Failed:
    """Return the failure that an `error` object tells."""
    message, status = error.get("message"), error.get("status")
    kind = _KINDS.get(status, "api_error") if isinstance(status, str) else "api_error"
    return Failed(message=message if isinstance(message, str) and message else "The provider failed.", kind=kind)
