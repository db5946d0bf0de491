"""The gateway and the providers that the clients of these guides reach."""

from tests.acceptance.conftest import provider, vendors, vendors_url

__all__ = ["provider", "vendors", "vendors_url"]
