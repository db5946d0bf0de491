"""The request that goes to a provider, in the client's own dialect or in the provider's."""

from datetime import UTC, datetime

import msgspec

from app.errors import Dialect
from app.gateway.call import Call, patch_body
from app.gateway.headers import AWS, build_translated_headers, build_upstream_headers
from app.gateway.plan import Target
from app.gateway.tongues import Translation
from app.providers.registry import DEFAULT_REGION, Provider
from app.translation.bedrock_sign import AccessKey, BearerKey, Credentials, sign
from app.upstream import Limits, Outgoing

MIN_ACCESS_KEY = ("AKIA", "ASIA")


def build_outgoing(call: Call, target: Target, limits: Limits, key: str) -> Outgoing:
    """Return the provider's request: the client's own bytes, patched only where the gateway has to."""
    return Outgoing(
        method=call.method,
        url=build_url(call, target),
        headers=build_upstream_headers(call.headers, call.sent, target.provider, target.dialect, key),
        body=_patched(call, target),
        limits=limits,
    )


def build_translated(call: Call, target: Target, translation: Translation, limits: Limits, key: str) -> Outgoing:
    """Return the provider's request for a call that is translated."""
    outgoing = Outgoing(
        method="POST",
        url=_azure_url(target, translation.path[1:], "") if _is_azure(target) else target.base_url + translation.path,
        headers=build_translated_headers(call.headers, call.sent, target.provider, target.tongue, key),
        body=translation.body,
        limits=limits,
    )
    return _signed(outgoing, target.provider, key) if target.provider.auth == AWS else outgoing


def build_url(call: Call, target: Target) -> str:
    """Return the address: below the provider's base URL what stands below ours, and the query string as it came."""
    query = f"?{call.query.decode('latin-1')}" if call.query else ""
    rest = call.route.rest
    if _is_azure(target):
        return _azure_url(target, rest, query)
    return f"{target.base_url}/{rest if target.dialect is Dialect.OPENAI else f'v1/{rest}'}{query}"


def _is_azure(target: Target) -> bool:
    return target.provider.vendor == "azure-openai"


def _azure_url(target: Target, rest: str, query: str) -> str:
    """Return Azure's address: with an api-version by deployment, without one its address that is like OpenAI's."""
    base = target.base_url.removesuffix("/v1").removesuffix("/openai")
    version = target.provider.api_version
    if version is None:
        return f"{base}/openai/v1/{rest}{query}"
    # Responses are the one model endpoint that has no deployment in its address.
    names = target.model is not None and not rest.startswith("responses")
    deployment = f"deployments/{target.model}/" if names else ""
    joined = f"{query}&" if query else "?"
    return f"{base}/openai/{deployment}{rest}{joined}api-version={version}"


def _patched(call: Call, target: Target) -> bytes:
    model = target.model if target.model != call.fields.model else None
    ask = asks_usage(call, target)
    return patch_body(call.body, model=model, ask_usage=ask) if model is not None or ask else call.body


def asks_usage(call: Call, target: Target) -> bool:
    """Return whether the stream's usage has to be asked for on the client's behalf."""
    endpoint = call.route.endpoint
    takes_option = endpoint is not None and endpoint.name in {"chat", "completions"}
    return takes_option and call.streamed and call.hides_usage and target.provider.asks_usage


def _signed(outgoing: Outgoing, provider: Provider, key: str) -> Outgoing:
    body = outgoing.body if isinstance(outgoing.body, bytes) else b""
    credentials = read_credentials(key, provider.region or DEFAULT_REGION)
    lines = sign(outgoing.method, outgoing.url, outgoing.headers, body, credentials, datetime.now(UTC))
    return msgspec.structs.replace(outgoing, headers=lines)


def read_credentials(key: str, region: str) -> Credentials:
    """Return what an AWS key text holds: `ACCESS_KEY:SECRET[:SESSION_TOKEN]`, else a Bedrock API key."""
    access_key, separator, rest = key.partition(":")
    if not separator or not access_key.startswith(MIN_ACCESS_KEY):
        return BearerKey(token=key)
    secret, _, session = rest.partition(":")
    return AccessKey(access_key=access_key, secret_key=secret, region=region, session_token=session or None)
