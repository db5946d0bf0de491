"""Which origins go through which proxy."""

import pytest

from app.upstream.proxy import find_proxy, parse_proxies

PROXIES = {"http": "http://plain:1", "https": "http://secure:2"}


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "direct"),
    [
        ("", "api.openai.com", 443, False),
        ("*", "api.openai.com", 443, True),
        ("openai.com", "api.openai.com", 443, True),
        ("openai.com", "openai.com", 443, True),
        (".openai.com", "api.openai.com", 443, True),
        ("*.openai.com", "api.openai.com", 443, True),
        ("OpenAI.com", "API.openai.COM.", 443, True),
        ("openai.com", "notopenai.com", 443, False),
        ("api.openai.com", "openai.com", 443, False),
        ("a, b  openai.com", "openai.com", 443, True),
        ("openai.com:443", "openai.com", 443, True),
        ("openai.com:8443", "openai.com", 443, False),
        ("10.0.0.0/8", "10.1.2.3", 80, True),
        ("10.0.0.0/8", "11.1.2.3", 80, False),
        ("127.0.0.1:80", "127.0.0.1", 80, True),
        ("::1", "::1", 80, True),
        ("[::1]:80", "::1", 80, True),
        ("[::1]:81", "::1", 80, False),
        ("fd00::/8", "fd12::1", 80, True),
        ("example.com", "10.1.2.3", 80, False),
        ("., ,*.", "example.com", 80, False),
    ],
)
def test_no_proxy_is_read_as_users_write_it(no_proxy: str, host: str, port: int, *, direct: bool) -> None:
    """Names cover their subdomains, networks their addresses; a port narrows an entry; case does not matter."""
    found = find_proxy(PROXIES, no_proxy, scheme="https", host=host, port=port)
    assert found == (None if direct else "http://secure:2")


def test_the_scheme_chooses_and_all_is_the_rest() -> None:
    """A proxy for the scheme wins over the one for all; without either the way is direct."""
    assert find_proxy(PROXIES, "", scheme="http", host="x", port=80) == "http://plain:1"
    assert find_proxy({"all": "http://any:3"}, "", scheme="https", host="x", port=443) == "http://any:3"
    assert find_proxy({"http": "http://plain:1"}, "", scheme="https", host="x", port=443) is None


def test_proxies_are_read_as_users_write_them() -> None:
    """A missing scheme means http, an empty value no proxy, and what cannot work is refused without its secret."""
    assert parse_proxies({"http": "proxy:3128", "https": ""}) == {"http": "http://proxy:3128"}
    with pytest.raises(ValueError, match="https proxy") as caught:
        parse_proxies({"https": "socks5://me:hidden@proxy"})
    assert "hidden" not in str(caught.value)
    with pytest.raises(ValueError, match="ftp proxy"):
        parse_proxies({"ftp": "http://proxy:1"})
