"""Chooses the forward proxy for an origin, as curl reads HTTP(S)_PROXY, ALL_PROXY and NO_PROXY."""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit


def parse_proxies(proxies: Mapping[str, str]) -> dict[str, str]:
    """Return proxy URLs by scheme ("http", "https", "all"); raise ValueError for one that cannot be used."""
    found: dict[str, str] = {}
    for scheme, url in proxies.items():
        if not url:
            continue
        full = url if "://" in url else f"http://{url}"
        parts = urlsplit(full)
        if scheme not in {"http", "https", "all"} or parts.scheme not in {"http", "https"}:
            raise ValueError(f"The {scheme} proxy must be an http:// or https:// URL")
        if not parts.hostname:
            raise ValueError(f"The {scheme} proxy names no host")
        found[scheme] = full
    return found


def find_proxy(proxies: Mapping[str, str], no_proxy: str, *, scheme: str, host: str, port: int) -> str | None:
    """Return the URL of the proxy for an origin, or None when it is to be dialled directly."""
    proxy = proxies.get(scheme) or proxies.get("all")
    if proxy is None or _is_exempt(no_proxy, host.lower().rstrip("."), port):
        return None
    return proxy


def _is_exempt(no_proxy: str, host: str, port: int) -> bool:
    return any(entry == "*" or _matches(entry, host, port) for entry in no_proxy.lower().replace(",", " ").split())


def _matches(entry: str, host: str, port: int) -> bool:
    """Compare one NO_PROXY entry: a host and its subdomains, an address or a network, maybe with a port."""
    name, colon, tail = entry.rpartition(":")
    if colon and tail.isdigit() and (":" not in name or name.endswith("]")):
        if int(tail) != port:
            return False
        entry = name
    entry = entry.strip("[]")
    address = _parse_address(host)
    if address is not None:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    suffix = entry.removeprefix("*").strip(".")
    return bool(suffix) and (host == suffix or host.endswith(f".{suffix}"))


def _parse_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
