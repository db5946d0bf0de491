"""What can be said about an installation from inside: what is wrong, and what could be better."""

import sysconfig
from collections.abc import Callable

import msgspec
import psycopg

from app.db.binaries import find_binaries
from app.db.embedded import EmbeddedPostgresError, probe_vector
from app.settings import Settings


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    text: str
    bad: bool = False

    @property
    def mark(self) -> str:
        """The sign before the line."""
        return "✗" if self.bad else "✓"


def examine(settings: Settings) -> list[Finding]:
    """Return what was found, without changing anything and without starting anything."""
    checks: list[Callable[[Settings], Finding]] = [check_interpreter, check_address, check_secret_key, check_database]
    return [check(settings) for check in checks]


def check_interpreter(_: Settings) -> Finding:
    """Say whether the interpreter was built with the optimisations that the gateway's speed depends on."""
    flags = f"{sysconfig.get_config_var('CONFIG_ARGS') or ''} {sysconfig.get_config_var('PY_CFLAGS') or ''}"
    profiled = "--enable-optimizations" in flags or "-fprofile-use" in flags
    if profiled:
        return Finding("The Python interpreter was built with profile-guided optimisation.")
    return Finding(
        "The Python interpreter's build flags do not mention profile-guided optimisation. Debian's python3 has "
        "it without saying so; on one that lacks it the gateway takes 1.2 to 1.6 times as long."
    )


def check_address(settings: Settings) -> Finding:
    """Say who can reach the gateway."""
    if settings.host in {"127.0.0.1", "::1", "localhost"}:
        return Finding(f"Only this machine can reach the gateway ({settings.host}:{settings.port}).")
    return Finding(f"The gateway listens on {settings.host}:{settings.port}: put TLS in front of it.")


def check_secret_key(settings: Settings) -> Finding:
    """Say where the secret key comes from."""
    if settings.secret_key is not None:
        return Finding("RELAYCORE_SECRET_KEY is set.")
    if not settings.embedded:
        return Finding("DATABASE_URL is set but RELAYCORE_SECRET_KEY is not: the gateway will not start.", bad=True)
    return Finding(f"The secret key is kept in {settings.data_dir / 'secret.key'}; back it up with the data.")


def check_database(settings: Settings) -> Finding:
    """Say whether the database can be used."""
    if settings.database_url is None:
        try:
            folder = find_binaries(settings.postgres_binaries)
        except EmbeddedPostgresError as error:
            return Finding(f"The embedded Postgres cannot be used: {error}", bad=True)
        return Finding(f"The embedded Postgres is used, with the data in {settings.data_dir / 'postgres'} ({folder}).")
    try:
        probe_vector(settings.database_url)
    except (psycopg.Error, EmbeddedPostgresError) as error:
        return Finding(f"The database cannot be used: {str(error).strip().splitlines()[0]}", bad=True)
    return Finding("The database answers and has pgvector.")
