"""Where webhooks may go: decided by the name that is asked for and by every address that it has; no I/O."""

import ipaddress
import re
from collections.abc import Sequence

import msgspec

from app.catalog.types import BatchConfig

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_URL = 2048
MALFORMED = "It must be an http:// or https:// URL in ASCII, with a host, and without a user, a password or a fragment."
HOST_DENIED = "Webhooks may not go to this host."
ONLY_HTTPS = "Webhooks to this host must go by https://."
ADDRESS_DENIED = "The host has an address that webhooks may not go to."
NO_ADDRESS = "The host has no address."

_URL = re.compile(
    r"(https?)://(\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?([/?][!\"$-\[\]-~]*)?",
    re.IGNORECASE,
)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_INSIDE_NAMES = frozenset(
    {"localhost", "local", "internal", "intranet", "lan", "home", "corp", "private", "arpa", "test"}
)
"""What the last part of a name is that means something else on every network."""

_DENIED_V4 = [
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # what Azure's machines are served by
    )
]  # fmt: skip
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
"""What the IANA hands out; whatever is outside embeds, loops, links or is kept for later."""

_DENIED_V6 = [
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo, ORCHID, benchmarks and other protocols
        "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3ffe::/16", "3fff::/20",
    )
]  # fmt: skip
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})

_NEVER_V4 = [
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8", "169.254.0.0/16", "100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32", "224.0.0.0/4",
        "255.255.255.255/32",
    )
]  # fmt: skip
"""Where clouds keep their credentials, and what is no host at all: no name leads there, not even one that is listed."""

_INNER_V6 = (ipaddress.IPv6Network("fc00::/7"), ipaddress.IPv6Network("::1/128"))
_CREDENTIALS_V6 = ipaddress.IPv6Address("fd00:ec2::254")


class EgressError(Exception):
    """A webhook may not go there. The message says why, without saying where."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a webhook goes, taken apart. `host` is in lower case, without brackets and without a last dot."""

    url: str
    host: str
    port: int
    secure: bool

    @property
    def address(self) -> Address | None:
        """The host when it is an address."""
        return parse_address(self.host)

    @property
    def names(self) -> frozenset[str]:
        """What the host may be listed as."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return frozenset({self.host, shown, f"{shown}:{self.port}"})


def read_target(url: str) -> Target:
    """Return a URL taken apart; EgressError for what different readers could take for different hosts."""
    match = _URL.fullmatch(url) if len(url) <= MAX_URL else None
    if match is None:
        raise EgressError(MALFORMED)
    secure = match[1].lower() == "https"
    port = int(match[3]) if match[3] else 443 if secure else 80
    host = match[2].lower().strip("[]").removesuffix(".")
    if not 0 < port < 65536 or not _is_host(host):
        raise EgressError(MALFORMED)
    return Target(url=url, host=host, port=port, secure=secure)


def check_target(target: Target, config: BatchConfig) -> None:
    """Raise EgressError unless webhooks may go to this host, as far as that can be said before it is looked up."""
    if is_listed(target, config):
        return
    if not config.webhook_public:
        raise EgressError(HOST_DENIED)
    address = target.address
    if address is not None and not is_public(address):
        raise EgressError(ADDRESS_DENIED)
    labels = target.host.split(".")
    if address is None and (len(labels) < 2 or labels[-1] in _INSIDE_NAMES):
        raise EgressError(HOST_DENIED)
    if not target.secure:
        raise EgressError(ONLY_HTTPS)


def choose_addresses(target: Target, found: Sequence[str], config: BatchConfig) -> list[str]:
    """Return the addresses to dial, of those that the host was found to have; EgressError when one of them is denied.

    One is enough: an honest host does not have the addresses of somebody's inner network among its own.
    """
    check_target(target, config)
    listed = is_listed(target, config)
    addresses = [parse_address(text) for text in dict.fromkeys(found)]
    if not addresses:
        raise EgressError(NO_ADDRESS)
    for address in addresses:
        if address is None or not (is_public(address) or (listed and is_thinkable(address, target))):
            raise EgressError(ADDRESS_DENIED)
    return [str(address) for address in addresses]


def is_listed(target: Target, config: BatchConfig) -> bool:
    """Return whether an administrator has named this host, with or without its port, or all that is below a name."""
    for entry in config.webhook_hosts:
        pattern = entry.lower()
        if pattern in target.names:
            return True
        if pattern.startswith("*.") and target.address is None and target.host.endswith(pattern[1:]):
            return True
    return False


def is_thinkable(address: Address, target: Target) -> bool:
    """Return whether a listed host may have this address of an inner network; one that is listed itself is meant."""
    if address == target.address:
        return True
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NEVER_V4)
    return address != _CREDENTIALS_V6 and any(address in network for network in _INNER_V6)


def is_public(address: Address) -> bool:
    """Return whether anybody on the internet could have this address, and nobody on an inner network has."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _DENIED_V4)
    if address in _NAT64:
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if address not in _GLOBAL_V6 or (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return False
    return not any(address in network for network in _DENIED_V6)


def parse_address(text: str) -> Address | None:
    """Return the address that is written in its usual form; None for anything else, also for a link's own."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return address if "%" not in text and str(address) == text else None


def _is_host(host: str) -> bool:
    """Return whether all readers agree on a host: an address in its usual form, or a name that is no number."""
    if ":" in host:
        return parse_address(host) is not None
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return parse_address(host) is not None
    return len(host) <= 253 and all(_LABEL.fullmatch(label) for label in labels)
