"""The `prices` table: read whole for the price book, replaced source by source."""

from collections.abc import Sequence
from decimal import Decimal
from typing import cast

from sqlalchemy import Connection, func, select, text

from app.catalog.prices import PriceRow, source_family
from app.db.connection import Connection as HotConnection

Key = tuple[str, str, str, int]
Line = tuple[str, str, str, int, Decimal, str]

ALL = "SELECT provider, model, token_class, from_input_tokens, usd_per_unit, source FROM prices"

# One statement however many rows: each one raises the version of the price snapshot.
RETIRE = text("""
WITH gone AS (
    SELECT * FROM unnest(CAST(:providers AS text[]), CAST(:models AS text[]), CAST(:classes AS text[]),
                         CAST(:starts AS bigint[])) AS one (provider, model, token_class, from_input_tokens)
), retired AS (
    UPDATE price_versions AS old SET known = tstzrange(lower(old.known), now())
    FROM gone
    WHERE old.provider = gone.provider AND old.model = gone.model AND old.token_class = gone.token_class
      AND old.from_input_tokens = gone.from_input_tokens AND old.origin = 'catalogue' AND upper_inf(old.known)
      AND old.valid @> now() AND lower(old.known) < now()
    RETURNING old.*
)
INSERT INTO price_versions
    (provider, model, token_class, from_input_tokens, origin, usd_per_unit, source, valid, known)
SELECT provider, model, token_class, from_input_tokens, origin, usd_per_unit, source,
       tstzrange(lower(valid), now()), tstzrange(now(), NULL)
FROM retired WHERE lower_inf(valid) OR lower(valid) < now()
""")
INSERT = text("""
INSERT INTO price_versions
    (provider, model, token_class, from_input_tokens, origin, usd_per_unit, source, valid, known)
SELECT provider, model, token_class, start, 'catalogue', amount, source,
       tstzrange(CASE WHEN EXISTS (
           SELECT FROM price_versions AS old
           WHERE old.provider = new.provider AND old.model = new.model AND old.token_class = new.token_class
             AND old.from_input_tokens = new.start AND old.origin = 'catalogue') THEN now() END, NULL),
       tstzrange(now(), NULL)
FROM unnest(CAST(:providers AS text[]), CAST(:models AS text[]), CAST(:classes AS text[]), CAST(:starts AS bigint[]),
            CAST(:amounts AS numeric[]), CAST(:sources AS text[]))
    AS new (provider, model, token_class, start, amount, source)
""")


async def list_prices(connection: HotConnection) -> list[PriceRow]:
    """Return every price there is."""
    cursor = await connection.execute(ALL)
    return [_read_row(cast(Line, line)) for line in await cursor.fetchall()]


def replace_prices(connection: Connection, rows: Sequence[PriceRow], source: str) -> int:
    """Make `rows` the prices of `source` (any version of it) and return how many rows changed.

    Rows of other sources stay as they are and keep their place where both price the same. Nothing is written when
    nothing differs. The caller's transaction makes it all or nothing; it waits for others that do the same.
    """
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtext("relaycore_prices"))))
    stored = {_key(row): row for row in _list_stored(connection)}
    wanted = {_key(row): row for row in rows}
    foreign = {key for key, row in stored.items() if source_family(row.source) != source_family(source)}
    changed = [row for key, row in wanted.items() if key not in foreign and stored.get(key) != row]
    gone = [row for key, row in stored.items() if key not in foreign and key not in wanted]
    if changed or gone:
        connection.execute(RETIRE, _key_columns([*changed, *gone]))
    if changed:
        amounts = {"amounts": [row.usd_per_unit for row in changed], "sources": [row.source for row in changed]}
        connection.execute(INSERT, _key_columns(changed) | amounts)
    return len(changed) + len(gone)


def _list_stored(connection: Connection) -> list[PriceRow]:
    return [_read_row(cast(Line, tuple(line))) for line in connection.execute(text(ALL))]


def _read_row(line: Line) -> PriceRow:
    provider, model, token_class, start, price, source = line
    return PriceRow(
        provider=provider,
        model=model,
        token_class=token_class,
        from_input_tokens=start,
        usd_per_unit=price,
        source=source,
    )


def _key(row: PriceRow) -> Key:
    return row.provider, row.model, row.token_class, row.from_input_tokens


def _key_columns(rows: Sequence[PriceRow]) -> dict[str, object]:
    return {
        "providers": [row.provider for row in rows],
        "models": [row.model for row in rows],
        "classes": [row.token_class for row in rows],
        "starts": [row.from_input_tokens for row in rows],
    }
