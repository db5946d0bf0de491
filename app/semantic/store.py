"""Questions, and what is known of their likeness, in Postgres."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, cast
from uuid import UUID

import msgspec
from psycopg.sql import SQL, Literal

from app.db.connection import Connection
from app.semantic.types import TIERS, Candidate, Decision, Evidence, Likeness, Verdict

READER_OPTIONS = "-c synchronous_commit=off -c hnsw.ef_search=80 -c hnsw.iterative_scan=strict_order"
EXACT_UP_TO = 2000
"""How many questions of a scope are all compared: always right, and as fast as an index up to there."""

INDEX_FROM = 500
"""How many of a partition's questions must be of one scope for an index of their own to be worth it."""

MAX_CANDIDATES = 5

FIND_SCOPE = "SELECT id, indexed FROM semantic_scopes WHERE identity = %(identity)b AND embedder = %(embedder)s"

_EVIDENCE = SQL("""(
    SELECT jsonb_agg(jsonb_build_array(tier, checked, wrong, recent_checked, recent_wrong, newest_wrong))
    FROM semantic_evidence
    WHERE namespace = %(namespace)s AND policy = %(policy)s)""")

FIND_EXACTLY = (
    SQL("""
SELECT key, question, echoes, 1 - (embedding <=> %(vector)s::halfvec), {evidence}
FROM semantic_entries WHERE scope_id = %(scope_id)s AND expires_at > now()
ORDER BY embedding <=> %(vector)s::halfvec LIMIT %(limit)s
""")
    .format(evidence=_EVIDENCE)
    .as_bytes()
)

# An index of one scope's questions is only used by a statement that names the scope and the length of the vectors.
_FIND_BY_INDEX = SQL("""
SELECT key, question, echoes, 1 - (embedding::halfvec({length}) <=> %(vector)s::halfvec({length})), {evidence}
FROM semantic_entries WHERE scope_id = {scope} AND expires_at > now()
ORDER BY embedding::halfvec({length}) <=> %(vector)s::halfvec({length}) LIMIT %(limit)s
""")

UPSERT_SCOPES = """
INSERT INTO semantic_scopes AS held (identity, embedder, namespace)
SELECT * FROM unnest(%s::bytea[], %s::text[], %s::text[]) ON CONFLICT (identity, embedder)
DO UPDATE SET used_at = now()
RETURNING identity, embedder, id
"""

# What another statement of the transaction has just put under the same keys goes with the slot that is open to it.
UPSERT_ENTRIES = """
WITH given AS (
    SELECT * FROM unnest(%s::bytea[], %s::bigint[], %s::uuid[], %s::text[], %s::jsonb[], %s::text[], %s::float8[],
        %s::float8[]) AS e (key, scope_id, user_id, question, echoes, embedding, created_at, expires_at)
), written AS (
    INSERT INTO semantic_entries
        (key, slot, scope_id, user_id, question, echoes, embedding, created_at, expires_at)
    SELECT e.key, s.slot, e.scope_id, e.user_id, e.question, ARRAY(SELECT jsonb_array_elements_text(e.echoes)),
        e.embedding::halfvec, to_timestamp(e.created_at), to_timestamp(e.expires_at)
    FROM given e
    JOIN cache_slots s ON s.closed_at IS NULL AND s.class = relaycore_cache_class(e.expires_at - e.created_at)
    ON CONFLICT (key, slot) DO UPDATE SET
        scope_id = excluded.scope_id, user_id = excluded.user_id, echoes = excluded.echoes,
        embedding = excluded.embedding, created_at = excluded.created_at, expires_at = excluded.expires_at
    RETURNING key, slot
)
DELETE FROM semantic_entries AS old USING written WHERE old.key = written.key AND old.slot <> written.slot
"""

INSERT_DECISIONS = """
INSERT INTO semantic_decisions
    (id, namespace, policy, tier, user_id, request_id, entry_key, similarity, probability, served, verdict, judged_at)
SELECT *, CASE WHEN verdict IS NOT NULL THEN now() END
FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::smallint[], %s::uuid[], %s::text[], %s::bytea[], %s::real[],
    %s::real[], %s::bool[], %s::text[])
    AS d (id, namespace, policy, tier, user_id, request_id, entry_key, similarity, probability, served, verdict)
ON CONFLICT (id) DO NOTHING
"""

JUDGE = """
UPDATE semantic_decisions AS d SET verdict = v.verdict, judged_at = now()
FROM unnest(%s::uuid[], %s::text[]) AS v (id, verdict) WHERE d.id = v.id AND d.verdict IS NULL
"""

SUM_EVIDENCE = """
SELECT relaycore_sum_evidence(namespace, policy, %s)
FROM (SELECT DISTINCT * FROM unnest(%s::text[], %s::text[]) AS n (namespace, policy) ORDER BY 1, 2) AS n
"""

DELETE_OLD_DECISIONS = """
DELETE FROM semantic_decisions WHERE id IN (
    SELECT id FROM semantic_decisions WHERE decided_at < now() - make_interval(days => %s) LIMIT %s)
"""


class Stored(Protocol):
    """What is needed to know of an answer to store its question beside it."""

    @property
    def key(self) -> bytes:
        """The answer's key."""
        ...

    @property
    def user_id(self) -> UUID:
        """Whose call made it."""
        ...

    @property
    def created_at(self) -> float:
        """When, in seconds since the epoch."""
        ...

    @property
    def expires_at(self) -> float:
        """Until when it counts."""
        ...


async def find_scope(connection: Connection, identity: bytes, embedder: str) -> tuple[int, bool] | None:
    """Return the id of what may be compared, and whether it is searched by index; None when nothing was stored yet."""
    cursor = await connection.execute(FIND_SCOPE, {"identity": identity, "embedder": embedder})
    line = cast(tuple[int, bool] | None, await cursor.fetchone())
    return None if line is None else (line[0], line[1])


async def find_candidates(
    connection: Connection, scope: tuple[int, bool], vector: str, dimensions: int, of: tuple[str, str]
) -> tuple[list[Candidate], Evidence]:
    """Return the questions of a scope that are nearest to `vector`, and what is known `of` a namespace and policy."""
    scope_id, indexed = scope
    values = {"vector": vector, "namespace": of[0], "policy": of[1], "limit": MAX_CANDIDATES, "scope_id": scope_id}
    statement = build_indexed_search(scope_id, dimensions) if indexed else FIND_EXACTLY
    cursor = await connection.execute(statement, values)
    lines = cast(list[tuple[bytes, str, list[str], float, list[list[int]] | None]], await cursor.fetchall())
    found = [
        Candidate(key=bytes(key), question=question, echoes=frozenset(echoes), similarity=similarity)
        for key, question, echoes, similarity, _ in lines
    ]
    return found, read_evidence(lines[0][4] if lines else None)


def build_indexed_search(scope_id: int, dimensions: int) -> bytes:
    """Return the statement that searches one scope by its index."""
    return _FIND_BY_INDEX.format(length=Literal(dimensions), scope=Literal(scope_id), evidence=_EVIDENCE).as_bytes()


def read_evidence(sums: Iterable[Sequence[int]] | None) -> Evidence:
    """Return the sums of a namespace as they come from the database: the tier, then the fields of Evidence."""
    by_tier = {tier: numbers for tier, *numbers in sums or ()}
    nothing = [0] * len(Evidence.__struct_fields__)
    columns = zip(*(by_tier.get(tier, nothing) for tier in range(len(TIERS))), strict=True)
    return Evidence(**dict(zip(Evidence.__struct_fields__, columns, strict=True)))


async def insert_likenesses(connection: Connection, pairs: Sequence[tuple[Stored, Likeness]]) -> None:
    """Store the questions of answers, which the same transaction stores."""
    scopes = sorted({(one.identity, one.embedder, one.namespace) for _, one in pairs})
    cursor = await connection.execute(UPSERT_SCOPES, [list(column) for column in zip(*scopes, strict=True)])
    lines = cast(list[tuple[bytes, str, int]], await cursor.fetchall())
    ids = {(bytes(identity), embedder): scope_id for identity, embedder, scope_id in lines}
    ordered = sorted(pairs, key=lambda pair: pair[0].key)
    columns = zip(
        *(
            (
                entry.key,
                ids[one.identity, one.embedder],
                entry.user_id,
                one.question,
                write_json(one.echoes),
                one.vector,
                entry.created_at,
                entry.expires_at,
            )
            for entry, one in ordered
        ),
        strict=True,
    )
    await connection.execute(UPSERT_ENTRIES, [list(column) for column in columns])


async def insert_decisions(connection: Connection, decisions: Sequence[Decision]) -> None:
    """Store what was decided about similar entries."""
    columns = zip(
        *(
            (
                one.id,
                one.namespace,
                one.policy,
                one.tier,
                one.user_id,
                one.request_id,
                one.entry_key,
                one.similarity,
                one.probability,
                one.served,
                one.verdict,
            )
            for one in decisions
        ),
        strict=True,
    )
    await connection.execute(INSERT_DECISIONS, [list(column) for column in columns])


async def judge_decisions(connection: Connection, verdicts: Sequence[Verdict]) -> None:
    """Store what checks said of decisions; what a client reported stays."""
    values = [one.decision_id for one in verdicts], [one.verdict for one in verdicts]
    await connection.execute(JUDGE, values)


async def sum_evidence(connection: Connection, of: Iterable[tuple[str, str]], window: int) -> None:
    """Sum up the newest verdicts of namespaces under policies."""
    pairs = sorted(set(of))
    if pairs:
        await connection.execute(SUM_EVIDENCE, (window, [one[0] for one in pairs], [one[1] for one in pairs]))


async def delete_old_decisions(connection: Connection, days: int, limit: int = 1000) -> int:
    """Delete at most `limit` decisions that are older than `days` and return how many."""
    return (await connection.execute(DELETE_OLD_DECISIONS, (days, limit))).rowcount


def write_json(values: Any) -> str:
    """Return JSON text without NUL, which Postgres has no place for."""
    return msgspec.json.encode(values).decode()
