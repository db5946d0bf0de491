"""How similar answers stand, namespace by namespace: what was decided, what checks said, and whether it suffices."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Select, Subquery, and_, func, select
from sqlalchemy.engine import RowMapping

from app.analytics.cache_report_types import NamespaceStanding, NamespaceSums, TierStanding
from app.analytics.fact_reports import within
from app.analytics.report_times import Span
from app.analytics.report_types import ReportQuery
from app.db.tables import semantic_decisions, semantic_evidence
from app.semantic.evidence import judge_standing
from app.semantic.rules import FindRules
from app.semantic.store import read_evidence
from app.semantic.types import TIERS, Evidence, Standing
from app.wire.caching import SemanticConfig

MAX_NAMESPACES = 100
COUNTS = ("served", "shadowed", "reported")


def read_namespaces(connection: Connection, query: ReportQuery) -> list[NamespaceSums]:
    """Return the namespaces that the viewer may see, those with the newest decisions or checks first."""
    return [_build_sums(line) for line in connection.execute(select_namespaces(query)).mappings()]


def judge_namespaces(found: Iterable[NamespaceSums], find_rules: FindRules) -> list[NamespaceStanding]:
    """Return how each stands by its own rules. Working out the bounds takes a while where much was found wrong."""
    return [judge_namespace(sums, find_rules(sums.namespace)) for sums in found]


def judge_namespace(sums: NamespaceSums, rules: SemanticConfig) -> NamespaceStanding:
    """Return how a namespace stands by `rules`, as the very calls in it are judged."""
    standings = [judge_standing(tier, sums.evidence, rules) for tier in range(len(TIERS))]
    telling = next((one for one in reversed(standings) if one.served), standings[-1])
    some = "proving" if telling.served else "shadow"
    return NamespaceStanding(
        namespace=sums.namespace,
        policy=sums.policy,
        mode="serving" if standings[-1].served else some,
        bound=telling.bound,
        checked=sum(sums.evidence.checked),
        wrong=sum(sums.evidence.wrong),
        error_budget=rules.error_budget,
        served=sums.served,
        shadowed=sums.shadowed,
        reported=sums.reported,
        tiers=[_build_tier(tier, one) for tier, one in zip(TIERS, standings, strict=True)],
    )


def select_namespaces(query: ReportQuery) -> Select[Any]:
    """Return the query for namespaces with their decisions and evidence.

    Who is held to one user's calls is shown the namespaces that decisions of that user are in, and no other; their
    evidence is everybody's who shares them.
    """
    decided, known = _sum_decisions(query), _sum_evidence()
    same = and_(decided.c.namespace == known.c.namespace, decided.c.policy == known.c.policy)
    names = [func.coalesce(decided.c[name], known.c[name]).label(name) for name in ("namespace", "policy")]
    counts = [func.coalesce(decided.c[name], 0).label(name) for name in COUNTS]
    newest = func.greatest(decided.c.at, known.c.at)
    return (
        select(*names, *counts, known.c.evidence)
        .select_from(decided.outerjoin(known, same, full="user_id" not in query.match))
        .order_by(newest.desc(), *names)
        .limit(MAX_NAMESPACES)
    )


def _sum_decisions(query: ReportQuery) -> Subquery:
    columns = semantic_decisions.c
    conditions = [within([Span(query.start, query.end)], columns.decided_at)]
    if "user_id" in query.match:
        conditions.append(columns.user_id == query.match["user_id"])
    counts = {"served": columns.served, "shadowed": ~columns.served, "reported": columns.verdict == "reported"}
    return (
        select(
            columns.namespace,
            columns.policy,
            func.max(columns.decided_at).label("at"),
            *(func.count().filter(condition).label(name) for name, condition in counts.items()),
        )
        .where(*conditions)
        .group_by(columns.namespace, columns.policy)
        .subquery("decided")
    )


def _sum_evidence() -> Subquery:
    columns = semantic_evidence.c
    line = func.jsonb_build_array(columns.tier, *(columns[name] for name in Evidence.__struct_fields__))
    by = (columns.namespace, columns.policy)
    sums = (func.max(columns.updated_at).label("at"), func.jsonb_agg(line).label("evidence"))
    return select(*by, *sums).group_by(*by).subquery("known")


def _build_sums(line: RowMapping) -> NamespaceSums:
    return NamespaceSums(
        namespace=line["namespace"],
        policy=line["policy"],
        evidence=read_evidence(line["evidence"]),
        served=line["served"],
        shadowed=line["shadowed"],
        reported=line["reported"],
    )


def _build_tier(tier: str, standing: Standing) -> TierStanding:
    return TierStanding(
        tier=tier,
        mode="serving" if standing.served else "shadow",
        bound=standing.bound,
        checked=standing.checked,
        wrong=standing.wrong,
    )
