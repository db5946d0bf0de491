"""Prices over HTTP: setting, listing and ending them, pricing calls again, and what every process makes of it."""

import json
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import psycopg
import pytest

from tests.gateway_process import Gateway

INPUT = {"provider": "mock", "model": "echo", "token_class": "input_tokens"}


@pytest.fixture(scope="module")
def gateway(shared_gateway):
    return shared_gateway


@pytest.fixture
def admin(gateway: Gateway):
    with gateway.client(headers={"authorization": f"Bearer {gateway.admin_key}"}) as client:
        yield client


def decode(reply: httpx.Response):
    """Return the body with its numbers as they were written."""
    assert reply.status_code < 300, reply.text
    return json.loads(reply.text, parse_float=Decimal)


def put(client, **body):
    return client.put("/admin/prices", json={**INPUT, **body})


def look(client, **query):
    return decode(client.get("/admin/prices", params=query))["prices"]


def chat(gateway, model="mock/echo", **body):
    with gateway.client() as client:
        message = {"role": "user", "content": f"Hello {time.monotonic()}"}
        reply = client.post("/v1/chat/completions", json={"model": model, "messages": [message], **body})
    assert reply.status_code == 200, reply.text
    return Decimal(reply.headers["x-relay-cost-usd"]), reply.json()["usage"]


def query(gateway, statement):
    with psycopg.connect(gateway.database_url) as connection:
        return connection.execute(statement).fetchall()


def test_a_price_holds_at_once(gateway, admin):
    """The next call after a price was set costs it, and after it was ended what the catalogue asks."""
    before, usage = chat(gateway)
    price = decode(put(admin, usd_per_unit="0.5", note="for the test"))
    assert (price["origin"], price["usd_per_million"], price["note"]) == ("admin", 500_000, "for the test")
    cost, usage = chat(gateway)
    assert cost == usage["prompt_tokens"] * Decimal("0.5") + usage["completion_tokens"] * Decimal("0.000002")
    assert admin.delete(f"/admin/prices/{price['id']}").status_code == 204
    assert chat(gateway)[0] < 1
    assert before < 1


def test_a_price_to_come_takes_effect_without_a_write(gateway, admin):
    """A price from a later instant on is used from that instant, though nothing happens in the database then."""
    begin = datetime.now(UTC) + timedelta(seconds=1.5)
    price = decode(put(admin, usd_per_unit=1, valid_from=begin.isoformat()))
    assert chat(gateway)[0] < 1
    assert look(admin, **INPUT)[0]["origin"] == "catalogue"
    assert look(admin, **INPUT, at=(begin + timedelta(days=1)).isoformat())[0]["id"] == price["id"]
    time.sleep(max(0.0, (begin - datetime.now(UTC)).total_seconds()) + 0.05)
    assert chat(gateway)[0] > 1
    assert admin.delete(f"/admin/prices/{price['id']}").status_code == 204


def test_history(gateway, admin):
    """What was known at an instant can be asked for ever; every change leaves its version behind."""
    first = decode(put(admin, model="h", usd_per_million=3))
    known = first["known_from"]
    decode(put(admin, model="h", usd_per_million=4, valid_from="2020-01-01T00:00:00Z"))
    assert [price["usd_per_million"] for price in look(admin, model="h")] == [4]
    assert [price["usd_per_million"] for price in look(admin, model="h", known_at=known)] == [3]
    assert look(admin, model="h", known_at="2020-01-01T00:00:00+00:00") == []
    assert len(look(admin, model="h", history="true")) == 2


def test_pages(gateway, admin):
    """Lists come in pages with a total and a cursor."""
    for number in range(3):
        put(admin, model=f"page-{number}", provider="pages", usd_per_unit=number)
    seen, cursor = [], None
    while True:
        page = decode(
            admin.get(
                "/admin/prices", params={"provider": "pages", "limit": 2} | ({"cursor": cursor} if cursor else {})
            )
        )
        seen += [price["model"] for price in page["prices"]]
        assert page["total"] == 3
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == ["page-0", "page-1", "page-2"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "usd_per_unit"),
        ({"usd_per_unit": 1, "usd_per_million": 1}, "usd_per_unit"),
        ({"usd_per_unit": -1}, "usd_per_unit"),
        ({"usd_per_unit": "NaN"}, "usd_per_unit"),
        ({"usd_per_unit": "1e400"}, "usd_per_unit"),
        ({"usd_per_unit": "1e-16"}, "usd_per_unit"),
        ({"usd_per_million": "1e-10"}, "usd_per_million"),
        ({"usd_per_unit": 1, "token_class": "tokens"}, "token_class"),
        ({"usd_per_unit": 1, "token_class": "input_tokens@gold"}, "token_class"),
        ({"usd_per_unit": 1, "model": "a\u0000b"}, "model"),
        ({"usd_per_unit": 1, "provider": "No Name"}, "provider"),
        ({"usd_per_unit": 1, "note": "a\u0000"}, "note"),
        ({"usd_per_unit": 1, "from_input_tokens": -1}, "from_input_tokens"),
        ({"usd_per_unit": 1, "valid_from": "0001-01-01T00:00:00+14:00"}, "valid_from"),
        ({"usd_per_unit": 1, "valid_until": "9999-12-31T23:59:59-12:00"}, "valid_until"),
        ({"usd_per_unit": 1, "valid_until": "2020-01-01T00:00:00Z"}, "valid_until"),
        ({"usd_per_unit": 1, "colour": "red"}, "colour"),
    ],
)
def test_what_does_not_fit_is_named(admin, body, param):
    """A body that does not fit is a 400 that names the field."""
    reply = put(admin, **body)
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert param in f"{error['param']} {error['message']}"


@pytest.mark.parametrize(
    "params",
    [{"at": "soon"}, {"known_at": "9999"}, {"limit": 0}, {"cursor": "x"}, {"cursor": "99999999"}, {"model": "a\u0000"}],
)
def test_queries_that_do_not_fit(admin, params):
    """So is a query."""
    reply = admin.get("/admin/prices", params=params)
    assert reply.status_code == 400, reply.text
    assert next(iter(params)) in reply.text


def test_ids(gateway, admin):
    """An id that is none is a 404, a price of the catalogue or one that was ended a 409."""
    for wrong in ("x", "123456789012", "99999999999999999999", "-1"):
        assert admin.delete(f"/admin/prices/{wrong}").status_code == 404
    catalogue = look(admin, provider="openai", model="gpt-4o")[0]
    assert admin.delete(f"/admin/prices/{catalogue['id']}").status_code == 409
    price = decode(put(admin, model="ids", usd_per_unit=1, from_input_tokens=0))
    assert put(admin, model="more-ids", usd_per_unit=1, from_input_tokens=10).status_code == 409
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert admin.delete(f"/admin/prices/{price['id']}", params={"valid_until": until}).status_code == 204
    assert admin.delete(f"/admin/prices/{price['id']}").status_code == 409


def test_only_administrators(gateway):
    """Prices are not for everybody."""
    with gateway.client() as user:
        assert user.get("/admin/prices").status_code == 403
        assert put(user, usd_per_unit=1).status_code == 403
        assert user.delete("/admin/prices/1").status_code == 403
        assert user.post("/admin/prices/rerate", json={"from": "2026-01-01T00:00:00Z"}).status_code == 403


def test_every_change_is_in_the_audit_log(gateway, admin):
    """Setting, ending and re-rating are noted with who did it; what changes nothing is not."""
    price = decode(put(admin, model="audited", usd_per_unit=1))
    put(admin, model="audited", usd_per_unit=1)
    admin.delete(f"/admin/prices/{price['id']}")
    found = query(
        gateway,
        f"SELECT action, before ->> 'model', after ->> 'model' FROM audit_log "
        f"WHERE object_kind = 'price' AND object_id = '{price['id']}' ORDER BY sequence",
    )
    assert found == [("price.set", None, "audited"), ("price.end", "audited", None)]


def test_discount_and_margin(gateway, admin):
    """What a call costs is the list price less the discount plus the margin of its provider, exactly."""
    with gateway.client() as client:
        gateway.configure(
            providers={
                "mock": {"type": "mock"},
                "cheap": {"type": "mock", "discount": 0.15, "margin": 0.1},
            }
        )
        cost, usage = chat(gateway, "cheap/echo")
        listed = usage["prompt_tokens"] * Decimal("0.000001") + usage["completion_tokens"] * Decimal("0.000002")
        assert cost == listed * Decimal("0.935")
        assert client.get("/health").status_code == 200


def test_a_price_for_one_of_two_providers_of_a_kind(gateway, admin):
    """A price may be set for a provider by its name in the configuration, and others of its kind keep theirs."""
    gateway.configure(providers={"mock": {"type": "mock"}, "other": {"type": "mock"}})
    price = decode(put(admin, provider="other", model="*", usd_per_unit="0.25"))
    decode(put(admin, provider="other", model="*", token_class="output_tokens", usd_per_unit=0))
    cost, usage = chat(gateway, "other/gpt-4o-mini")
    assert cost == usage["prompt_tokens"] * Decimal("0.25")
    assert chat(gateway, "mock/gpt-4o-mini")[0] < Decimal("0.1")
    assert price["provider"] == "other"


def test_calls_are_priced_again(gateway, admin):
    """A late price is posted for past calls as differences; a second run and a trial post nothing."""
    begin = datetime.now(UTC) - timedelta(hours=1)
    name = "o3-mini"
    gateway.configure(providers={"mock": {"type": "mock"}})
    old, usage = chat(gateway, f"mock/{name}")
    gateway.flush()
    decode(put(admin, model=name, usd_per_unit="0.5", valid_from=begin.isoformat()))
    order = {"from": begin.isoformat(), "model": name}
    expected = usage["prompt_tokens"] * Decimal("0.5") + usage["completion_tokens"] * Decimal("0.000002")
    for dry_run, corrected in ((True, 1), (False, 1), (False, 0), (True, 0)):
        result = decode(admin.post("/admin/prices/rerate", json={**order, "dry_run": dry_run}))
        assert (result["requests"], result["corrected"], result["next"]) == (1, corrected, None)
        assert Decimal(result["difference_usd"]) == (expected - old if corrected else 0)
    assert query(gateway, f"SELECT estimated_cost FROM requests WHERE model = '{name}'") == [(expected,)]
    assert query(gateway, "SELECT count(*) FROM audit_log WHERE action = 'prices.rerate'")[0][0] >= 1
    assert query(gateway, "SELECT * FROM relaycore_ledger_check()") == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
        {"from": "2199-01-01T00:00:00Z"},
        {"from": "2026-01-02T00:00:00Z", "cursor": "x"},
        {"from": "2026-01-02T00:00:00Z", "cursor": "e30="},
        {"from": "2026-01-02T00:00:00Z", "fast": True},
    ],
)
def test_orders_that_do_not_fit(admin, body):
    """An order to price again that does not fit is a 400."""
    assert admin.post("/admin/prices/rerate", json=body).status_code == 400
