"""The vendors as rows of data, and providers made of them."""

import pytest

from app.errors import Dialect
from app.providers.registry import VENDORS, build_provider

OPEN, ANTHRO = Dialect.OPENAI, Dialect.ANTHROPIC


@pytest.mark.parametrize("name", VENDORS)
def test_rows(name):
    """Every vendor has an address for each of its dialects, by the dialect's own rule, and a key or no need of one."""
    vendor = VENDORS[name]
    assert vendor.name == name
    assert vendor.base_urls or vendor.tongue_url
    assert vendor.keyless is not bool(vendor.key_names)
    for dialect, url in vendor.base_urls.items():
        assert not url.endswith("/")
        assert not url or vendor.tongue or url.endswith("/v1") is (dialect is OPEN)


def test_model_names_have_one_owner():
    """No vendor's model names begin like another's, so that a bare name means one of them."""
    prefixes = [(prefix, vendor.name) for vendor in VENDORS.values() for prefix in vendor.owns]
    for prefix, name in prefixes:
        assert not [other for other, owner in prefixes if owner != name and other.startswith(prefix)]


@pytest.mark.parametrize(
    ("vendor", "url", "urls"),
    [
        ("openai", None, {OPEN: "https://api.openai.com/v1"}),
        ("openai", "http://h/v1/", {OPEN: "http://h/v1"}),
        ("openai", "http://h/api", {OPEN: "http://h/api"}),
        ("anthropic", "http://h", {ANTHRO: "http://h"}),
        ("anthropic", "http://h/v1/", {ANTHRO: "http://h"}),
        ("mock", "http://h/v1", {OPEN: "http://h/v1", ANTHRO: "http://h"}),
        ("openai-compatible", "http://h:1/v1", {OPEN: "http://h:1/v1"}),
    ],
)
def test_addresses(vendor, url, urls):
    """A given base URL stands for the vendor's own; Anthropic's begins before the version."""
    assert build_provider("x", VENDORS[vendor], url, ()).base_urls == urls


def test_an_empty_key_is_none():
    """An empty key is no key."""
    assert build_provider("x", VENDORS["openai"], None, ()).api_key is None
