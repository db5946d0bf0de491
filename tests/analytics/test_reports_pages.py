"""Lists in pages: every line once, whatever happens meanwhile; and a cursor is good for nothing but its own list."""

import base64
import json

import psycopg
import pytest

from app.analytics.reports import read_costs, read_savings, read_usage
from app.analytics.request_reports import read_requests
from app.errors import BadRequestError
from tests.analytics.report_samples import START, USERS, Viewer, add_calls, asking, insert_calls, query, sum_hours

GROUPED = {"usage": read_usage, "costs": read_costs, "optimizations": read_savings}


@pytest.fixture(scope="module")
def ask(module_database_url):
    insert_calls(module_database_url, 600)
    with asking(module_database_url) as ask:
        yield ask


def list_pages(ask, read, text, viewer, between_pages=lambda: None):
    cursor = ""
    while True:
        page = ask(read, f"{text}{cursor}", viewer)
        yield page
        if page["next"] is None:
            return
        cursor = f"&cursor={page['next']}"
        between_pages()


@pytest.mark.parametrize("name", GROUPED)
@pytest.mark.parametrize(
    "groups", ["model", "user,status", "day,tag", "hour,api_key,provider", "cache_status,endpoint", "cache_scope,model"]
)
def test_groups_come_once(ask, name, groups):
    """The pages of a grouped report hold what one long page holds, in the same order, with the same totals."""
    whole = ask(GROUPED[name], f"group_by={groups}&limit=1000")
    pages = list(list_pages(ask, GROUPED[name], f"group_by={groups}&limit=4", Viewer(USERS[0], admin=True)))
    assert [row for page in pages for row in page[name]] == whole[name]
    assert {page["total"] for page in pages} == {len(whole[name])}
    assert all(len(page[name]) == 4 for page in pages[:-1])


@pytest.mark.parametrize(
    "text",
    [
        "limit=7",
        "limit=7&group_by=tag",
        "limit=20&status=2xx",
        "limit=3&tag=red",
        "limit=9&model=model-a&endpoint=chat",
    ],
)
def test_calls_come_once_and_newest_first(ask, module_database_url, text):
    """The pages of the list hold each call once, newest first, and say how many there are."""
    chosen = {
        "": "true",
        "group_by=tag": "true",
        "status=2xx": "status_code = 200",
        "tag=red": "'red' = ANY(tags)",
        "model=model-a&endpoint=chat": "model = 'model-a' AND endpoint = 'chat'",
    }[text.partition("&")[2]]
    expected = query(module_database_url, f"SELECT id FROM requests WHERE {chosen} ORDER BY request_time DESC, id DESC")
    pages = list(list_pages(ask, read_requests, text, Viewer(USERS[0], admin=True)))
    assert [row["id"] for page in pages for row in page["requests"]] == [row["id"] for row in expected]
    assert {page["total"] for page in pages} == {len(expected)}


def test_pages_under_inserts(database_url):
    """Calls that arrive while somebody turns the pages neither repeat nor push out what was there."""
    insert_calls(database_url, 100)
    before = {row["id"] for row in query(database_url, "SELECT id FROM requests")}
    with asking(database_url) as ask, psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT setseed(0.4)")
        viewer = Viewer(USERS[0], admin=True)
        pages = list_pages(ask, read_requests, "limit=6", viewer, lambda: add_calls(connection, 30))
        seen = [row["id"] for page in pages for row in page["requests"]]
    assert len(seen) == len(set(seen))
    assert before <= set(seen)


def test_calls_of_one_moment(database_url):
    """Calls of the very same microsecond are told apart by their id."""
    insert_calls(database_url, 50)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE requests SET request_time = %s", (START,))
    sum_hours(database_url)
    with asking(database_url) as ask:
        pages = list(list_pages(ask, read_requests, "limit=7", Viewer(USERS[0], admin=True)))
    assert len({row["id"] for page in pages for row in page["requests"]}) == 50


def test_a_cursor_keeps_its_range(ask):
    """Later pages are of the range of the first one, even where it ends with the present moment."""
    first = ask(read_usage, "group_by=model&limit=1")
    second = ask(read_usage, f"group_by=model&limit=1&cursor={first['next']}")
    assert (first["start"], first["end"]) == (second["start"], second["end"])


@pytest.mark.parametrize(
    ("text", "viewer"),
    [
        ("group_by=model&limit=1", Viewer(USERS[1])),
        ("group_by=model&limit=1", Viewer(USERS[0], admin=True)),
        ("group_by=user&limit=1", Viewer(USERS[0])),
        ("group_by=model&provider=openai&limit=1", Viewer(USERS[0])),
        ("group_by=model&limit=1&bucket=day", Viewer(USERS[0])),
        ("limit=1", Viewer(USERS[0])),
    ],
)
def test_a_cursor_is_for_its_own_list(ask, text, viewer):
    """A cursor that somebody else got, or that came from another question, is refused by name."""
    cursor = ask(read_usage, "group_by=model&limit=1", Viewer(USERS[0]))["next"]
    with pytest.raises(BadRequestError) as caught:
        ask(read_usage, f"{text}&cursor={cursor}", viewer)
    assert caught.value.param == "cursor"


def forge(cursor: str, change) -> str:
    parts = json.loads(base64.urlsafe_b64decode(cursor + "=="))
    change(parts)
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: parts.__setitem__(3, []),
        lambda parts: parts.__setitem__(3, ["a", "b"]),
        lambda parts: parts.__setitem__(3, [5]),
        lambda parts: parts.__setitem__(3, ["a\0b"]),
        lambda parts: parts.__setitem__(3, [{"a": 1}]),
        lambda parts: parts.__setitem__(1, "2026-01-01"),
        lambda parts: parts.__setitem__(1, "0001-01-01T00:00:00Z"),
        lambda parts: parts.__setitem__(2, "2199-01-01T00:00:00Z"),
        lambda parts: parts.__setitem__(2, "2026-01-01T00:00:00"),
        lambda parts: parts.append(1),
        lambda parts: parts.clear(),
    ],
)
def test_a_forged_cursor_is_refused(ask, change):
    """Whatever somebody makes of a cursor, it is a 400 that names it and never reaches the database."""
    cursor = ask(read_usage, "group_by=model&limit=1")["next"]
    with pytest.raises(BadRequestError) as caught:
        ask(read_usage, f"group_by=model&limit=1&cursor={forge(cursor, change)}")
    assert caught.value.param == "cursor"


@pytest.mark.parametrize("text", ["x", "%00", "é", "A" * 9000, "W10", "bnVsbA", "%F0%9F%98%80"])
def test_nonsense_is_no_cursor(ask, text):
    """What was never a cursor is a 400 that names it."""
    for read in (*GROUPED.values(), read_requests):
        with pytest.raises(BadRequestError) as caught:
            ask(read, f"cursor={text}")
        assert caught.value.param == "cursor"


def test_a_forged_cursor_shows_nothing_of_others(ask):
    """A cursor says where to go on; whose calls are shown is not for it to say."""
    cursor = ask(read_requests, "limit=1", Viewer(USERS[0]))["next"]
    forged = forge(cursor, lambda parts: parts.__setitem__(3, ["2100-01-01T00:00:00Z", parts[3][1]]))
    page = ask(read_requests, f"limit=1000&cursor={forged}", Viewer(USERS[0]))
    assert {row["user_id"] for row in page["requests"]} == {USERS[0]}
