"""How every command speaks to the operator: failures in one line, progress on stderr."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import click

from app.settings import SettingsError

P = ParamSpec("P")


def explained(function: Callable[P, None]) -> Callable[P, None]:
    """Turn the failures that an operator can mend into one line on the terminal and exit status 1."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        import psycopg
        from sqlalchemy.exc import DBAPIError

        from app.catalog.secrets import SecretUnreadableError
        from app.catalog.seed import ConfigError
        from app.db.embedded import EmbeddedPostgresError
        from app.db.keyring import KeyringError
        from app.errors import RelayError

        try:
            function(*args, **kwargs)
        except ConfigError as error:
            raise click.ClickException(" ".join(str(error).split())) from error
        except (SettingsError, EmbeddedPostgresError, KeyringError, SecretUnreadableError) as error:
            raise click.ClickException(str(error)) from error
        except RelayError as error:
            raise click.ClickException(error.message) from error
        except (DBAPIError, psycopg.Error) as error:
            raise click.ClickException(f"The database cannot be used: {_first_line(error)}") from error

    return run


def _first_line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().partition("\n")[0]


def say(sentence: str) -> None:
    """Tell the operator what is going on."""
    click.echo(sentence, err=True)
