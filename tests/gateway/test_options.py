"""What clients ask of the gateway by header, as tables."""

import pytest

from app.errors import BadRequestError
from app.gateway.options import (
    Options,
    find_credential,
    read_count,
    read_label,
    read_options,
    read_request_id,
    read_sent,
)


def sent(**lines):
    return read_sent([(name.replace("_", "-").encode(), value) for name, value in lines.items()])


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ({}, None),
        ({"authorization": b"Bearer a"}, "a"),
        ({"authorization": b"bearer  a "}, "a"),
        ({"authorization": b"Basic a"}, None),
        ({"authorization": b"Basic a", "x_api_key": b"b"}, "b"),
        ({"authorization": b"Bearer a", "x_api_key": b"b", "api_key": b"c", "x_goog_api_key": b"d"}, "a"),
        ({"x_api_key": b"b", "api_key": b"c", "x_goog_api_key": b"d"}, "b"),
        ({"api_key": b"c", "x_goog_api_key": b"d"}, "c"),
        ({"x_goog_api_key": b"d"}, "d"),
        ({"x_relay_api_key": b"e ", "authorization": b"Bearer a"}, "e"),
        ({"x_api_key": b"  "}, None),
        ({"x_api_key": b"\xff"}, "\xff"),
    ],
)
def test_credentials(lines, key):
    """Our own header wins, then bearer, x-api-key, api-key and x-goog-api-key."""
    assert find_credential(sent(**lines)) == key


def test_the_first_of_several_lines_counts():
    """A header that comes twice counts as it came first."""
    assert find_credential(read_sent([(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")])) == "a"


@pytest.mark.parametrize(
    ("lines", "options"),
    [
        ({}, Options()),
        ({"x_aihub_cache": b" Bypass "}, Options(cache="bypass")),
        ({"x_aihub_cache_ttl": b"0"}, Options(ttl=0)),
        ({"x_aihub_cache_ttl": b" 60 "}, Options(ttl=60)),
        ({"x_relay_tags": b"a, b,,c "}, Options(tags=("a", "b", "c"))),
        ({"x_relay_tags": "\u00e9".encode()}, Options(tags=("\u00e9",))),
        ({"x_relay_metadata": b'{"a": 1}'}, Options(metadata='{"a": 1}')),
        ({"x_relay_timeout": b"1.5"}, Options(timeout_seconds=1.5)),
        ({"x_aihub_semantic": b"on"}, Options(semantic=True)),
        ({"x_aihub_semantic": b" Off "}, Options(semantic=False)),
        ({"x_aihub_semantic": b"0.8"}, Options(semantic=True, floor=0.8)),
        ({"x_aihub_semantic": b" 0.925 "}, Options(semantic=True, floor=0.925)),
        ({"x_aihub_semantic": b"0.999999"}, Options(semantic=True, floor=0.999999)),
        ({"x_aihub_semantic": b"1"}, Options(semantic=True, floor=1.0)),
        ({"x_aihub_semantic": b"1.0"}, Options(semantic=True, floor=1.0)),
        ({"x_relay_cache_scope": b"key"}, Options(cache_scope="key")),
        ({"x_relay_cache_scope": b" user "}, Options(cache_scope="user")),
        ({"x_relay_cache_scope": b"team"}, Options(cache_scope="team")),
        ({"x_relay_cache_scope": b"organization"}, Options(cache_scope="organization")),
        ({"x_relay_cache_scope": b"organisation"}, Options(cache_scope="organization")),
        ({"x_relay_cache_scope": b"namespace:faq"}, Options(cache_scope="namespace:faq")),
        ({"x_relay_cache_scope": b"namespace:9.A_b-c"}, Options(cache_scope="namespace:9.A_b-c")),
        ({"x_relay_cache_scope": b"namespace:" + b"x" * 64}, Options(cache_scope="namespace:" + "x" * 64)),
        ({"x_portkey_cache_namespace": b" faq "}, Options(cache_scope="namespace:faq")),
        ({"x_portkey_cache_namespace": b"team"}, Options(cache_scope="namespace:team")),
        ({"x_relay_cache_scope": b"key", "x_portkey_cache_namespace": b"/"}, Options(cache_scope="key")),
        ({"x_relay_cache_tags": b"a, b,,"}, Options(cache_tags=("a", "b"))),
        ({"x_relay_cache_tags": b" , "}, Options()),
        ({"x_relay_cache_tags": b"a", "x_relay_tags": b"b"}, Options(cache_tags=("a",), tags=("b",))),
    ],
)
def test_options(lines, options):
    """What makes sense is read."""
    assert read_options(sent(**lines)) == options


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x_aihub_cache", b"maybe"),
        ("x_aihub_cache", b"\xff"),
        ("x_aihub_cache_ttl", b"1e3"),
        ("x_aihub_cache_ttl", b"+1"),
        ("x_aihub_cache_ttl", "\u0663".encode()),
        ("x_aihub_cache_ttl", b"1" * 13),
        ("x_relay_tags", b"x" * 129),
        ("x_relay_tags", b"\xff"),
        ("x_relay_metadata", b"["),
        ("x_relay_metadata", b'"a"'),
        ("x_relay_metadata", b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}"),
        ("x_relay_metadata", b'{"a":"' + b"x" * 9000 + b'"}'),
        ("x_relay_timeout", b"soon"),
        ("x_relay_timeout", b"-1"),
        ("x_relay_timeout", b"nan"),
        ("x_relay_timeout", b"1e9"),
        ("x_aihub_semantic", b"yes"),
        ("x_aihub_semantic", b"true"),
        ("x_aihub_semantic", b"0.79"),
        ("x_aihub_semantic", b"0.799999"),
        ("x_aihub_semantic", b"1.000001"),
        ("x_aihub_semantic", b"0.9999999"),
        ("x_aihub_semantic", b".9"),
        ("x_aihub_semantic", b"0."),
        ("x_aihub_semantic", b"9e-1"),
        ("x_aihub_semantic", b"nan"),
        ("x_aihub_semantic", b"-1"),
        ("x_aihub_semantic", b"+0.9"),
        ("x_aihub_semantic", b"0,9"),
        ("x_aihub_semantic", "0.\u0669".encode()),
        ("x_aihub_semantic", b"on, 0.9"),
        ("x_relay_cache_scope", b"everyone"),
        ("x_relay_cache_scope", b"Team"),
        ("x_relay_cache_scope", b"global"),
        ("x_relay_cache_scope", b"team:1"),
        ("x_relay_cache_scope", b"namespace:"),
        ("x_relay_cache_scope", b"namespace:-a"),
        ("x_relay_cache_scope", b"namespace:a/b"),
        ("x_relay_cache_scope", b"namespace:a b"),
        ("x_relay_cache_scope", b"namespace:a:b"),
        ("x_relay_cache_scope", "namespace:\u00e9".encode()),
        ("x_relay_cache_scope", b"namespace:" + b"x" * 65),
        ("x_relay_cache_scope", b"\xff"),
        ("x_relay_cache_scope", b" "),
        ("x_portkey_cache_namespace", b"a b"),
        ("x_portkey_cache_namespace", b"../up"),
        ("x_portkey_cache_namespace", b"x" * 65),
        ("x_portkey_cache_namespace", b"\xff"),
        ("x_portkey_cache_namespace", b" "),
        ("x_relay_cache_tags", b"x" * 129),
        ("x_relay_cache_tags", b"a\0b"),
        ("x_relay_cache_tags", b"\xff"),
        ("x_relay_cache_tags", b",".join(b"%d" % number for number in range(33))),
    ],
)
def test_nonsense(name, value):
    """What makes no sense is refused, and the header is named."""
    with pytest.raises(BadRequestError) as caught:
        read_options(sent(**{name: value}))
    assert caught.value.param.lower() == name.replace("_", "-")


@pytest.mark.parametrize(
    ("value", "taken"),
    [(b"abc-1", "abc-1"), (b"", None), (b"x" * 129, None), (b"a\tb", None), (b"\xe4", None), (b"x" * 128, "x" * 128)],
)
def test_request_ids(value, taken):
    """A client's request id is taken over only when it can be sent back and stored."""
    assert read_request_id(sent(x_request_id=value)) == taken


def test_small_reports():
    """Counts and labels that a client reports are taken when they are sane."""
    assert [read_count(value) for value in (b"2", b"", b"-1", b"1234567", b"x")] == [2, None, None, None, None]
    assert [read_label(value) for value in (b"a", b"", b"a\0b", b"\xff")] == ["a", None, "ab", "\ufffd"]
    assert len(read_label(b"x" * 1000)) == 128
