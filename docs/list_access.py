"""Print docs/access-table.md: who may call which route."""

import sys

from app.access.policy import CALLS, HELLO, TRAFFIC, list_rules

HEAD = """\
# Who may call what

This page is printed by `python docs/list_access.py > docs/access-table.md` from the table in `app/access/policy.py`,
which the gateway obeys: a route that is not in it does not start, and a test calls every cell as every kind of caller.

- **public**: no key is needed.
- **user**: any live key, of a user or an administrator. In brackets the scopes of which the key needs one; a key
  without scopes has all that its user may.
- **admin**: the key of an administrator; when the key has scopes, `admin` must be among them. The admin key of the
  installation may do everything.

Who has no live key gets a 401, who lacks the right a 403, and only then a 404 or 405 is said. `OPTIONS` takes the least
that another method of the path takes. What a user is shown of what they may read (their own data, or everybody's) is
decided by the route itself.

## Control routes

| Method | Path | Who |
|---|---|---|
"""
MIDDLE = """
## Model traffic

Every other path is model traffic, below any provider's name and version.

| Endpoint | Who |
|---|---|
"""


def write_page() -> str:
    """Return the page."""
    rules = "".join(f"| {method} | `{path}` | {policy} |\n" for method, path, policy in list_rules())
    classes = [("`GET /`, `HEAD /`", HELLO), *((f"`{name}`", policy) for name, policy in TRAFFIC.items())]
    classes.append(("all others", CALLS))
    return HEAD + rules + MIDDLE + "".join(f"| {name} | {policy} |\n" for name, policy in classes)


sys.stdout.write(write_page())
