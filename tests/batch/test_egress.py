"""Where webhooks may go: no spelling of a host, no answer of a name server and no list leads anywhere else."""

import pytest

from app.batch.webhooks.egress import EgressError, check_target, choose_addresses, read_target
from app.catalog.types import BatchConfig

ANYWHERE = BatchConfig()
LISTED = BatchConfig(
    webhook_hosts=("hooks.example.com", "*.inner.example.org", "127.0.0.1:9000", "[::1]", "10.1.2.3", "169.254.9.9"),
    webhook_public=False,
)

DENIED = [
    # what is no URL of ours, or is read as another host by others
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "//example.com/",
    "https:///x",
    "https://user:password@example.com/",
    "https://example.com@127.0.0.1/",
    "https://127.0.0.1#@example.com/",
    "https://127.0.0.1\\@example.com/",
    "https://example.com:99999/",
    "https://example.com:0/",
    "https://exa mple.com/",
    "https://example.com/\r\nhost: inner",
    "https://example.com/ü",
    "https://①②⑦.0.0.1/",
    "https://l\u043ecalhost.example.com/",
    "https://%6cocalhost/",
    "https://example..com/",
    "https://example.com/" + "x" * 2048,
    # numbers that some readers take for addresses
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://127.1/",
    "https://127.0.0.0x1/",
    "https://017700000001/",
    "https://[127.0.0.1]/",
    # names of inner networks, and http
    "https://localhost/",
    "https://LOCALHOST./",
    "https://a.localhost/",
    "https://printer/",
    "https://metadata.google.internal/",
    "https://nas.local/",
    "http://example.com/",
    # addresses
    "https://127.0.0.1/",
    "https://127.255.255.254/",
    "https://0.0.0.0/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.168.1.1/",
    "https://100.64.0.1/",
    "https://100.100.100.200/",
    "https://169.254.169.254/latest/meta-data/",
    "https://168.63.129.16/",
    "https://192.0.0.192/",
    "https://192.0.2.1/",
    "https://192.88.99.1/",
    "https://198.18.0.1/",
    "https://198.51.100.1/",
    "https://203.0.113.1/",
    "https://224.0.0.1/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://[::]/",
    "https://[::1]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::ffff:808:808]/",
    "https://[::7f00:1]/",
    "https://[64:ff9b::a9fe:a9fe]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b:1::808:808]/",
    "https://[2002:7f00:1::]/",
    "https://[2002:a9fe:a9fe::1]/",
    "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "https://[2001::4136:e378]/",
    "https://[2001:db8::1]/",
    "https://[3fff::1]/",
    "https://[2606:4700::5efe:a00:1]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fec0::1]/",
    "https://[fd00:ec2::254]/",
    "https://[fc00::1]/",
    "https://[ff02::1]/",
    "https://[5f00::1]/",
]

ALLOWED = [
    ("https://example.com", "example.com", 443),
    ("https://EXAMPLE.com./x?y=1@2", "example.com", 443),
    ("https://hooks.example.co.uk:8443/a/b", "hooks.example.co.uk", 8443),
    ("https://xn--bcher-kva.example.net/", "xn--bcher-kva.example.net", 443),
    ("https://a_b.example.com/", "a_b.example.com", 443),
    ("https://1.1.1.1/", "1.1.1.1", 443),
    ("https://172.32.0.1/", "172.32.0.1", 443),
    ("https://100.128.0.1/", "100.128.0.1", 443),
    ("https://[2606:4700:4700::1111]:8443/", "2606:4700:4700::1111", 8443),
    ("https://[64:ff9b::808:808]/", "64:ff9b::808:808", 443),
]

ANSWERS = [
    ["127.0.0.1"],
    ["10.0.0.1"],
    ["93.184.216.34", "192.168.0.1"],
    ["169.254.169.254"],
    ["::1"],
    ["::ffff:10.0.0.1"],
    ["64:ff9b::a00:1"],
    ["2002:a00:1::1"],
    ["fe80::1%eth0"],
    ["not an address"],
    ["0x7f000001"],
    ["127.1"],
    [],
]


def check(url: str, config: BatchConfig = ANYWHERE) -> None:
    target = read_target(url)
    check_target(target, config)
    if target.address is not None:
        choose_addresses(target, [target.host], config)


@pytest.mark.parametrize("url", DENIED)
def test_denied(url: str) -> None:
    """None of these is sent anything, and the refusal says nothing of the URL."""
    with pytest.raises(EgressError) as caught:
        check(url)
    assert "/" not in str(caught.value).replace("http://", "").replace("https://", "")


@pytest.mark.parametrize(("url", "host", "port"), ALLOWED)
def test_allowed(url: str, host: str, port: int) -> None:
    """Public hosts are allowed, and are taken apart as everybody does."""
    check(url)
    assert (read_target(url).host, read_target(url).port) == (host, port)


@pytest.mark.parametrize("found", ANSWERS, ids=str)
def test_every_address_counts(found: list[str]) -> None:
    """One denied address among those of a name is enough; so is none at all."""
    with pytest.raises(EgressError):
        choose_addresses(read_target("https://example.com/"), found, ANYWHERE)


def test_what_is_chosen_is_what_was_found() -> None:
    """Public addresses are dialled in the order that they were found in, each once."""
    found = ["2606:4700::1111", "1.1.1.1", "1.1.1.1"]
    assert choose_addresses(read_target("https://example.com/"), found, ANYWHERE) == found[:2]


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://hooks.example.com/x", "10.0.0.8"),
        ("https://HOOKS.example.com:8443/x", "127.0.0.1"),
        ("http://a.inner.example.org/", "192.168.7.7"),
        ("http://a.b.inner.example.org/", "fd00::7"),
        ("http://127.0.0.1:9000/", "127.0.0.1"),
        ("http://[::1]:7777/", "::1"),
        ("http://10.1.2.3/", "10.1.2.3"),
        ("http://169.254.9.9/", "169.254.9.9"),
        ("https://hooks.example.com/", "93.184.216.34"),
    ],
)
def test_listed_hosts_are_allowed_wherever_they_are(url: str, found: str) -> None:
    """What an administrator listed may be on an inner network and speak http."""
    target = read_target(url)
    check_target(target, LISTED)
    assert choose_addresses(target, [found], LISTED) == [found]


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "https://inner.example.org/",
        "https://evilinner.example.org/",
        "https://hooks.example.com.evil.net/",
        "http://127.0.0.1:9001/",
        "http://127.0.0.1/",
        "http://10.1.2.4/",
        "https://1.1.1.1/",
    ],
)
def test_only_what_is_listed_is(url: str) -> None:
    """Where nothing is public, only listed hosts are told: a pattern is no suffix, and a port is meant."""
    with pytest.raises(EgressError):
        check_target(read_target(url), LISTED)


@pytest.mark.parametrize(
    "found", ["169.254.169.254", "100.100.100.200", "fd00:ec2::254", "fe80::1", "0.0.0.0", "::ffff:127.0.0.1", "::"]
)
def test_no_listed_name_leads_to_credentials(found: str) -> None:
    """Where clouds hand out credentials no name leads, not even one that is listed."""
    with pytest.raises(EgressError):
        choose_addresses(read_target("https://hooks.example.com/"), [found], LISTED)


def test_a_pattern_is_for_names() -> None:
    """A pattern with a star matches no address."""
    config = BatchConfig(webhook_hosts=("*.0.0.1",))
    with pytest.raises(EgressError):
        check_target(read_target("https://127.0.0.1/"), config)
