"""The dashboard in a real browser, over a real gateway: what it says is what the report says."""

import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from app.dashboard.routes import ASSETS
from tests.acceptance.support import fresh, query
from tests.gateway_process import Gateway

SWITCHES = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
EVIDENCE = """
INSERT INTO semantic_evidence (namespace, policy, tier, checked, wrong) VALUES (%s, 'p', %s, %s, %s) RETURNING tier
"""
HOSTILE = "<img src=x onerror=document.title='ridden'>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, which `.ci/run` sees to."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on the PATH")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=SWITCHES)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, shared_gateway: Gateway) -> Iterator[Page]:
    """The dashboard in a window of its own, whose console stays empty, with nothing asked for elsewhere."""
    said, elsewhere = [], []
    with browser.new_context() as context:
        opened = context.new_page()
        opened.set_default_timeout(20_000)
        opened.on("console", lambda message: said.append(message.text))
        opened.on("pageerror", lambda error: said.append(str(error)))
        opened.on("request", lambda asked: asked.url.startswith(shared_gateway.url) or elsewhere.append(asked.url))
        opened.goto(f"{shared_gateway.url}/dashboard")
        yield opened
    assert not [line for line in said if "401" not in line]
    assert elsewhere == []


def show(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Show").click()


def row_of(page: Page, namespace: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("rowheader").filter(has_text=namespace))


def test_it_says_which_namespaces_are_in_shadow(page: Page, shared_gateway: Gateway) -> None:
    """A namespace whose answers are found and not served is called shadow, a proven one not; with bound and budget."""
    for line in (("team:good", 0, 4000, 0), ("team:bad", 0, 400, 40), (HOSTILE, 0, 400, 40)):
        query(shared_gateway, EVIDENCE, *line)
    show(page, shared_gateway.admin_key)
    bad = row_of(page, "team:bad").get_by_role("cell")
    expect(bad.nth(0)).to_have_text("shadowfound and compared, not served")
    expect(bad.nth(1)).to_contain_text("budget 1.00 %")
    expect(bad.nth(2)).to_have_text("40 of 4000 reported")
    expect(row_of(page, "team:good").get_by_role("cell").nth(0)).to_have_text(re.compile("^(serving|proving)"))
    expect(row_of(page, HOSTILE).get_by_role("cell").nth(0)).to_contain_text("shadow")
    expect(page).to_have_title("RelayCore dashboard")


def test_it_shows_the_hits_and_what_they_saved(page: Page, shared_gateway: Gateway) -> None:
    """Hits and money are those of the report."""
    body = {"model": "mock/echo", "messages": [{"role": "user", "content": fresh("dashboard")}]}
    with shared_gateway.client() as client:
        answers = [client.post("/v1/chat/completions", json=body) for _ in range(3)]
    assert [answer.headers["x-aihub-cache-status"] for answer in answers] == ["miss", "hit", "hit"]
    shared_gateway.flush()
    show(page, shared_gateway.key)
    expect(page.locator(".figures")).to_contain_text("66.7 %2 hits, 1 misses")
    expect(page.locator(".figures")).to_contain_text("Exact hits2")
    expect(page.locator(".figures")).to_contain_text("Saved$")


def test_a_wrong_key_is_said(page: Page) -> None:
    """For a key that does not count the page shows the gateway's words, and no numbers; a good one then helps."""
    show(page, "rk-wrong")
    expect(page.get_by_role("status")).to_contain_text("key")
    expect(page.get_by_role("status")).to_have_class("bad")
    expect(page.locator(".figures")).to_have_count(0)


def test_the_key_is_kept_nowhere(page: Page, shared_gateway: Gateway) -> None:
    """The key is in no storage, cookie or address, and gone when the page is loaded again."""
    show(page, shared_gateway.admin_key)
    expect(page.locator(".figures")).to_be_visible()
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    assert shared_gateway.admin_key not in page.url
    page.reload()
    expect(page.get_by_label("API key")).to_have_value("")
    expect(page.locator(".figures")).to_have_count(0)


@pytest.mark.parametrize("name", sorted(name for name in ASSETS if name.endswith(".js")))
def test_scripts_make_no_markup_of_text(name: str) -> None:
    """What a report says is never made into markup or code."""
    text = ASSETS[name].body.decode()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|eval\(|Function\(|Storage|cookie", text)
