"""Settings of one process; the only module that reads the environment."""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import platformdirs
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

LOG_FORMAT = "%(levelname)s %(name)s: %(message)s"
WELL_KNOWN_KEYS = frozenset(
    {
        "",
        "sk-1234",
        "admin",
        "changeme",
        "change-me",
        "password",
        "secret",
        "test",
        "relaycore",
        "sk-admin",
        "12345678",
    }
)
MIN_ADMIN_KEY_LENGTH = 8
MIN_SECRET_KEY_LENGTH = 16

# numpy reads this when it is first needed, which is later. It would multiply with a thread for every core, and wait for
# those whose core is taken: matrices of twenty rows gain nothing by that, and a search took four times as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

HOW_TO_MAKE_A_KEY = (
    "make one with: python3 -c 'import secrets; print(secrets.token_hex(32))' and keep it: without it no stored "
    "provider key can be read and no API key be checked"
)


class SettingsError(Exception):
    """The settings cannot be used; the message says which one and what would do."""


class UpstreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Time limits towards providers, in seconds.

    The first byte of a whole (not streamed) answer comes when the model has finished, so only streamed calls are held
    to `first_byte_seconds`; whole ones to `total_seconds`.
    """

    connect_seconds: float = 5.0
    first_byte_seconds: float = 60.0
    idle_seconds: float = 60.0
    total_seconds: float = 600.0
    max_answer_bytes: int = 64 * 2**20
    proxies: dict[str, str] = {}
    no_proxy: str = ""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a process is told from outside. Secrets are shown as `***` by repr."""

    host: str = "127.0.0.1"
    port: int = 4000
    workers: int = 1
    database_url: str | None = None
    data_dir: Path
    postgres_binaries: Path | None = None
    admin_key: str | None = None
    secret_key: str | None = None
    new_secret_key: str | None = None
    config_path: Path | None = None
    max_body_bytes: int = 10 * 2**20
    max_upload_bytes: int = 512 * 2**20
    local_cache_bytes: int = 64 * 2**20
    embed_model_path: Path | None = None
    retention_days: int = 30
    drain_seconds: int = 30
    upstream: UpstreamSettings = UpstreamSettings()
    provider_environment: dict[str, str] = {}

    def __repr__(self) -> str:
        """Name the process without its secrets."""
        return f"Settings(host={self.host!r}, port={self.port}, data_dir={str(self.data_dir)!r})"

    @property
    def embedded(self) -> bool:
        """Whether RelayCore runs its own Postgres."""
        return self.database_url is None


def read_settings(environ: Mapping[str, str] | None = None, **flags: object) -> Settings:
    """Return the settings from the environment, with `flags` (those that are not None) on top.

    Raises SettingsError for a value that cannot be used, naming the variable and never the value of a secret.
    """
    env = os.environ if environ is None else environ
    values: dict[str, object] = {
        "host": env.get("RELAYCORE_HOST") or "127.0.0.1",
        "port": _integer(env, "RELAYCORE_PORT", "PORT", default=4000, low=0, high=65535),
        "workers": _integer(env, "RELAYCORE_WORKERS", default=1, low=1, high=256),
        "database_url": _database_url(env.get("DATABASE_URL")),
        "data_dir": Path(env.get("RELAYCORE_DATA_DIR") or _default_data_dir()),
        "postgres_binaries": _path(env.get("RELAYCORE_POSTGRES_BIN")),
        "admin_key": _admin_key(env.get("RELAYCORE_ADMIN_KEY")),
        "secret_key": _secret_key(env, "RELAYCORE_SECRET_KEY"),
        "new_secret_key": _secret_key(env, "RELAYCORE_NEW_SECRET_KEY"),
        "config_path": _path(env.get("RELAYCORE_CONFIG")),
        "max_body_bytes": _integer(env, "RELAYCORE_MAX_BODY_BYTES", default=10 * 2**20, low=1024),
        "max_upload_bytes": _integer(env, "RELAYCORE_MAX_UPLOAD_BYTES", default=512 * 2**20, low=1024),
        "local_cache_bytes": _integer(env, "RELAYCORE_LOCAL_CACHE_BYTES", default=64 * 2**20, low=0),
        "embed_model_path": _path(env.get("RELAYCORE_EMBED_MODEL_PATH")),
        "retention_days": _integer(env, "RELAYCORE_RETENTION_DAYS", default=30, low=1),
        "drain_seconds": _integer(env, "RELAYCORE_DRAIN_SECONDS", default=30, low=0),
        "upstream": _upstream(env),
        "provider_environment": dict(env),
    }
    values.update({name: value for name, value in flags.items() if value is not None})
    return msgspec.convert(values, Settings, strict=False)


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Where a gateway is that a command talks to, and the API key for it."""

    url: str
    api_key: str | None

    def __repr__(self) -> str:
        return f"Access(url={self.url!r})"


def read_access(environ: Mapping[str, str] | None = None) -> Access:
    """Read where the gateway is: RELAYCORE_URL, else the port on this machine that `relaycore serve` would take."""
    env = os.environ if environ is None else environ
    port = _integer(env, "RELAYCORE_PORT", "PORT", default=4000, low=1, high=65535)
    url = env.get("RELAYCORE_URL", "").strip() or f"http://127.0.0.1:{port}"
    return Access(url=url, api_key=env.get("RELAYCORE_API_KEY", "").strip() or None)


def offer_vocabularies(folder: Path) -> None:
    """Have tiktoken read its vocabularies from `folder`; it would fetch them from the network otherwise."""
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)


def _default_data_dir() -> str:
    """Return the platform's user data folder; root, whose home is private, keeps data where servers do."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return "/var/lib/relaycore"
    return platformdirs.user_data_dir("relaycore", appauthor=False)


def _path(value: str | None) -> Path | None:
    return Path(value) if value else None


def _integer(env: Mapping[str, str], *names: str, default: int, low: int, high: int | None = None) -> int:
    for name in names:
        raw = env.get(name, "").strip()
        if not raw:
            continue
        if not raw.isdecimal() or int(raw) < low or (high is not None and int(raw) > high):
            upper = f" to {high}" if high is not None else " or more"
            raise SettingsError(f"{name} must be a whole number of {low}{upper}")
        return int(raw)
    return default


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    raw = env.get(name, "").strip()
    if not raw:
        return default
    try:
        value = float(raw)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise SettingsError(f"{name} must be a positive number of seconds")
    return value


def _upstream(env: Mapping[str, str]) -> UpstreamSettings:
    proxies = {
        scheme: url
        for scheme in ("http", "https", "all")
        if (url := env.get(f"{scheme}_proxy") or env.get(f"{scheme.upper()}_PROXY"))
    }
    return UpstreamSettings(
        connect_seconds=_seconds(env, "RELAYCORE_UPSTREAM_CONNECT_SECONDS", 5.0),
        first_byte_seconds=_seconds(env, "RELAYCORE_UPSTREAM_FIRST_BYTE_SECONDS", 60.0),
        idle_seconds=_seconds(env, "RELAYCORE_UPSTREAM_IDLE_SECONDS", 60.0),
        total_seconds=_seconds(env, "RELAYCORE_UPSTREAM_TOTAL_SECONDS", 600.0),
        max_answer_bytes=_integer(env, "RELAYCORE_MAX_ANSWER_BYTES", default=64 * 2**20, low=1024),
        proxies=proxies,
        no_proxy=env.get("no_proxy") or env.get("NO_PROXY") or "",
    )


def _database_url(value: str | None) -> str | None:
    if not value:
        return None
    scheme, separator, rest = value.partition("://")
    if not separator or scheme.partition("+")[0] not in {"postgres", "postgresql"}:
        raise SettingsError("DATABASE_URL must start with postgresql://")
    url = f"postgresql://{rest}"
    try:
        conninfo_to_dict(url)
    except ProgrammingError as error:
        # Only the name of a parameter is safe to repeat: other complaints quote parts of the URL, password included.
        complaint = str(error).strip()
        known = f" ({complaint})" if complaint.startswith("invalid URI query parameter") else ""
        raise SettingsError(
            f"DATABASE_URL cannot be read{known}; it looks like postgresql://user:password@host:5432/database, with "
            "special characters of the password percent-encoded"
        ) from None
    return url


def _admin_key(value: str | None) -> str | None:
    """Refuse a key that anybody would try first; unset means: make a random one."""
    if value is None:
        return None
    if value.strip().lower() in WELL_KNOWN_KEYS or len(value.strip()) < MIN_ADMIN_KEY_LENGTH:
        raise SettingsError(
            "RELAYCORE_ADMIN_KEY is empty, well known or shorter than 8 characters; unset it to have a random "
            "one made, or make one with: python3 -c 'import secrets; print(\"rk-admin-\" + secrets.token_urlsafe(32))'"
        )
    return value.strip()


def _secret_key(env: Mapping[str, str], name: str) -> str | None:
    value = env.get(name)
    if value is None:
        return None
    if value.strip().lower() in WELL_KNOWN_KEYS or len(value.strip()) < MIN_SECRET_KEY_LENGTH:
        raise SettingsError(f"{name} must be at least 16 characters and hard to guess; {HOW_TO_MAKE_A_KEY}")
    return value.strip()


def get_database_url(settings: Settings) -> str:
    """Return the database's URL; SettingsError when there is none."""
    if settings.database_url is None:
        raise SettingsError("DATABASE_URL is not set")
    return settings.database_url


def get_secret_key(settings: Settings) -> str:
    """Return the installation's secret key; SettingsError when there is none."""
    if settings.secret_key is None:
        raise SettingsError("RELAYCORE_SECRET_KEY is not set; " + HOW_TO_MAKE_A_KEY)
    return settings.secret_key
