"""The listening socket, and the addresses that are shown."""

import socket
from pathlib import Path

import pytest

from app.greeting import write_greeting, write_keys
from app.serve import bind, build_address, build_server_config
from app.settings import SettingsError, read_settings
from app.start import Ready


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("fe80::1", "http://[fe80::1]:80"),
        ("localhost", "http://localhost:80"),
    ],
)
def test_the_address_is_one_to_connect_to(host, address) -> None:
    """What is shown can be pasted into a client on this machine, whatever the server listens on."""
    assert build_address(host, 80) == address


def test_a_port_in_use_is_said() -> None:
    """A taken port ends the start with one line that says which, and how to choose another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"127\.0\.0\.1:{port}: Address already in use.*--port"):
            bind(read_settings({}, port=port))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_a_free_port_is_found(host) -> None:
    """Port 0 takes any free one, on either kind of address."""
    if host == "::1" and not Path("/proc/net/if_inet6").exists():
        pytest.skip("no IPv6 here")
    with bind(read_settings({}, host=host, port=0)) as listener:
        assert listener.getsockname()[1] > 0


def test_the_server_says_nothing_of_itself() -> None:
    """No Server header, no access log, no trust in forwarded addresses."""
    config = build_server_config(read_settings({}))
    assert (config.server_header, config.access_log, config.proxy_headers) == (False, False, False)


def test_keys_are_shown_only_when_they_were_made() -> None:
    """The greeting has no key but a placeholder when there is none to show."""
    old = Ready(settings=read_settings({}), embedded=None)
    assert write_keys(old) == []
    assert "$RELAYCORE_API_KEY" in write_greeting(old, "http://127.0.0.1:4000")
    new = Ready(settings=read_settings({}), embedded=None, admin_key="rk-admin-x", first_key="rk-y")
    assert {"  rk-admin-x", "  rk-y"} <= set(write_keys(new))
    assert "rk-admin-x" not in write_greeting(new, "http://127.0.0.1:4000")


@pytest.mark.parametrize(
    ("providers", "models"),
    [((), ["mock/echo"]), (("openai",), ["openai/gpt-4o-mini"]), (("openai", "anthropic"), ["claude-haiku-4-5"])],
)
def test_the_examples_use_what_is_configured(providers, models) -> None:
    """The lines to paste name models of the providers that there are."""
    ready = Ready(settings=read_settings({}), embedded=None, first_key="rk-y", providers=providers)
    text = write_greeting(ready, "http://127.0.0.1:4000")
    assert all(model in text for model in models)
