"""The rate limits of a call: what it asks for, what its client is told, and what it used in the end."""

from app.access.limit_rules import build_asking, counts_tokens, write_limit_headers
from app.access.limit_types import LimitReachedError
from app.access.types import Limit
from app.catalog.output_limits import find_output_limit
from app.catalog.tokens import count_inputs
from app.catalog.types import LimitsConfig
from app.gateway.call import Call
from app.gateway.exchange import Exchange
from app.gateway.parts import Parts
from app.gateway.plan import Plan, name_for_counting
from app.gateway.trace import Trace

USUAL_OUTPUT_TOKENS = 1024
"""What an answer is counted for when the call does not bound it, until it is known; few answers are longer."""


async def admit_call(call: Call, chosen: Plan, exchange: Exchange, parts: Parts) -> None:
    """Admit a call, if anything limits it; `finish_call` ends what this begins, whatever becomes of the call.

    The client is told how its limits stand. Raises LimitReachedError or UnavailableError.
    """
    caller, config = call.caller, parts.catalog.current.limits
    model_limits = find_model_limits(call.fields.model, chosen, config)
    if not caller.limits and not model_limits:
        return
    tokens = await count_tokens(call, chosen) if counts_tokens((*caller.limits, *model_limits)) else 0
    asking = build_asking(caller.limits, model_limits, tokens, caller.priority, config.interactive_share)
    if asking is None:
        return
    try:
        admission = await parts.limiter.admit(asking)
    except LimitReachedError as error:
        exchange.limit_headers = write_limit_headers(error.standing, exchange.dialect)
        raise
    exchange.trace.admission = admission
    exchange.limit_headers = write_limit_headers(admission.standing, exchange.dialect)


def finish_call(trace: Trace, parts: Parts) -> None:
    """Note what a call used. It stays counted as a request; tokens that no provider worked for are given back."""
    if trace.admission is not None:
        parts.limiter.finish(trace.admission, find_used_tokens(trace))


def find_used_tokens(trace: Trace) -> int | None:
    """Return what a provider used for a call; None when it may have used something and did not say."""
    if not trace.row.attempts:
        return 0
    if trace.row.usage is not None:
        return trace.row.usage.total_input_tokens + trace.row.usage.total_output_tokens
    return None if trace.owing else 0


def find_model_limits(requested: str | None, chosen: Plan, config: LimitsConfig) -> tuple[Limit, ...]:
    """Return the limits of the model by the name that was called and, where that leads to one place, by its own.

    Which of several deployments answers is not known before the call, so that only the limit of their group counts.
    """
    if not config.models:
        return ()
    names = {requested} if requested is not None else set[str]()
    if len(chosen.targets) == 1 and chosen.targets[0].model is not None:
        names.add(f"{chosen.targets[0].provider.name}/{chosen.targets[0].model}")
    found = [(name, config.models[name]) for name in sorted(names) if name in config.models]
    return tuple(
        Limit(scope=f"model:{name}", rpm=limit.rpm, tpm=limit.tpm, max_parallel=limit.max_parallel)
        for name, limit in found
    )


async def count_tokens(call: Call, chosen: Plan) -> int:
    """Return what a call is counted for until its usage is known: its input and the answer that it allows."""
    if not call.body:
        return 0
    counts = await count_inputs(call.body, [name_for_counting(target) for target in chosen.targets])
    most = 0
    for target, count in zip(chosen.targets, counts, strict=True):
        vendor, model = target.provider.vendor, target.model or ""
        output = find_output_limit(call.route.name, vendor, model, count.asked, USUAL_OUTPUT_TOKENS)
        tokens = output.tokens if output.source == "call" else min(output.tokens, USUAL_OUTPUT_TOKENS)
        most = max(most, count.tokens + tokens * output.answers)
    return most
