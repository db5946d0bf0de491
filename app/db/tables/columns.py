"""What the columns of all tables have in common: money, instants and the names of constraints."""

from sqlalchemy import Column, DateTime, MetaData, Numeric, text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

MONEY = Numeric(24, 15)
"""US dollars: fifteen decimals hold one token at the cheapest published price without rounding to zero."""

INSTANT = DateTime(timezone=True)
NOW = text("now()")
EMPTY = text("'{}'::jsonb")
NOTHING = text("0")


def created_at() -> Column[object]:
    """Return the column that says since when a row exists."""
    return Column("created_at", INSTANT, nullable=False, server_default=NOW)
