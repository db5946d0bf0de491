"""What is agreed with those who want to be told of a batch, how they are told, and when once more. No I/O."""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Literal
from uuid import UUID

import msgspec

from app.batch.webhooks.egress import EgressError, check_target, read_target
from app.catalog.secrets import Vault
from app.catalog.types import BatchConfig
from app.errors import BadRequestError
from app.wire.http import Headers

PURPOSE = "webhook secret"
PREFIX = "whsec_"
MADE_BYTES = 32
SHAPE = "The secret is 'whsec_' and the base64 of 24 to 64 random bytes."
NO_WEBHOOK = "There is a secret, but no webhook to sign with it."

AGAIN_SECONDS = (5.0, 30.0, 120.0, 600.0, 1800.0, 7200.0, 18_000.0, 36_000.0)
"""How long is waited after each try that failed; after the last one, nobody is told any more."""

JITTER = 0.25
GONE = 410

Outcome = Literal["delivered", "given up", "again"]


class Agreed(msgspec.Struct, frozen=True, kw_only=True):
    """Where a message goes, and its secret, sealed. `shown`: the secret, when it was made here."""

    url: str
    secret: bytes
    shown: str | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a try: `wait_seconds` until the next, when there is one."""

    outcome: Outcome
    status_code: int | None = None
    error: str | None = None
    wait_seconds: float = 0.0


def agree(url: str | None, secret: str | None, batch_id: UUID, config: BatchConfig, vault: Vault) -> Agreed | None:
    """Return what is stored of a webhook; None when there is none. Raises BadRequestError naming the field."""
    if url is None:
        if secret is not None:
            raise BadRequestError(NO_WEBHOOK, param="options.webhook_secret")
        return None
    try:
        check_target(read_target(url), config)
    except EgressError as error:
        raise BadRequestError(f"'options.webhook': {error}", code="invalid_webhook", param="options.webhook") from error
    if secret is not None and find_key(secret) is None:
        raise BadRequestError(SHAPE, code="invalid_webhook_secret", param="options.webhook_secret")
    made = None if secret is not None else PREFIX + base64.b64encode(secrets.token_bytes(MADE_BYTES)).decode()
    return Agreed(url=url, secret=vault.seal(PURPOSE, str(batch_id), secret or made or ""), shown=made)


def find_key(secret: str) -> bytes | None:
    """Return the key within a secret; None when it is no secret."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if secret.startswith(PREFIX) and 24 <= len(key) <= 64 else None


def build_headers(secret: str, message_id: UUID, timestamp: int, payload: bytes) -> Headers:
    """Return the header lines of a message as Standard Webhooks has them: its id, its time, and its signature."""
    signed = f"{message_id}.{timestamp}.".encode() + payload
    seal = base64.b64encode(hmac.digest(find_key(secret) or b"", signed, hashlib.sha256))
    return [
        (b"content-type", b"application/json"),
        (b"user-agent", b"RelayCore"),
        (b"webhook-id", str(message_id).encode()),
        (b"webhook-timestamp", str(timestamp).encode()),
        (b"webhook-signature", b"v1," + seal),
    ]


def judge(tries: int, status: int, chance: Callable[[], float]) -> Verdict:
    """Return what follows from an answer to the try with this number; `chance` is between 0 and 1."""
    if 200 <= status < 300:
        return Verdict(outcome="delivered", status_code=status)
    if status == GONE:
        return Verdict(outcome="given up", status_code=status, error="It is not wanted any more (410).")
    return build_failed(tries, f"It was answered with {status}.", chance, status=status)


def build_failed(tries: int, error: str, chance: Callable[[], float], *, status: int | None = None) -> Verdict:
    """Return what follows when the try with this number has failed."""
    if tries > len(AGAIN_SECONDS):
        return Verdict(outcome="given up", status_code=status, error=error)
    wait = AGAIN_SECONDS[max(tries, 1) - 1] * (1 + JITTER * chance())
    return Verdict(outcome="again", status_code=status, error=error, wait_seconds=wait)
