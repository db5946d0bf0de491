"""Reading a client's guide: what a test sends goes where the guide's own settings say."""

import re
from pathlib import Path

import httpx

from tests.gateway_process import TLS

FOLDER = Path(__file__).parents[2] / "docs" / "clients"
ADDRESS = "http://127.0.0.1:4000"
KEY = "rk-your-key"


def read_guide(name):
    """Return a guide's text."""
    return (FOLDER / f"{name}.md").read_text()


def read_blocks(name, language):
    """Return the guide's blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", read_guide(name), re.MULTILINE | re.DOTALL)


def find_all(name, pattern):
    """Return what a pattern's group finds in a guide; at least one."""
    found = re.findall(pattern, read_guide(name))
    assert found, f"{name}.md says nothing like {pattern}"
    return found


def place(text, gateway):
    """Return a guide's text with the running gateway's address and key in place of the guide's."""
    assert ADDRESS in text or KEY in text
    return text.replace(ADDRESS, gateway.url).replace(KEY, gateway.key)


def send(gateway, method, url, headers, body=None, **options):
    """Send what a client sends, to a URL of a guide. Nothing is followed."""
    with httpx.Client(trust_env=False, timeout=10, verify=TLS, **options) as client:
        return client.request(method, place(url, gateway), headers=headers, json=body)


def list_events(reply):
    """Return the names of a stream's events."""
    return [line.removeprefix("event: ") for line in reply.text.splitlines() if line.startswith("event: ")]
