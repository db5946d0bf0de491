"""The only package that speaks HTTP to providers on the hot path."""

from app.upstream.client import Upstream
from app.upstream.exchange import Incoming
from app.upstream.request import Limits, Outgoing

__all__ = ["Incoming", "Limits", "Outgoing", "Upstream"]
