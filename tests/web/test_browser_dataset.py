"""The data-set tab in a real Chromium."""

import pytest
from browsing import PATIENCE, faults_of, keep_screenshot, narrow, sign_in
from playwright.sync_api import Page, Route, expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def test_pictures_are_shown_at_random_searched_and_ranked(server, open_page):
    page: Page = open_page(reduced_motion="reduce")
    sign_in(page, server)
    page.get_by_role("tab", name="Data set").click()
    tool = page.locator("#imgcap-dataset")
    tool.get_by_role("button", name="A random photo").focus()
    page.keyboard.press("Enter")
    example = tool.get_by_role("article")
    expect(example.locator(".imgcap-caption")).to_be_visible(timeout=PATIENCE)
    expect(example.locator("tbody tr")).to_have_count(5)
    expect(page.locator("[role=status]", has_text="of 6")).to_have_count(1)
    page.wait_for_function("document.querySelector('#imgcap-dataset article img').naturalWidth === 64")

    tool.get_by_label("Search the captions").fill("green disc")
    tool.get_by_role("button", name="Search", exact=True).click()
    card = tool.get_by_role("listitem")
    expect(card).to_have_count(1, timeout=PATIENCE)
    card.get_by_role("button").click()
    expect(example).to_contain_text("a green disc", timeout=PATIENCE)

    tool.get_by_role("button", name="The worst").click()
    expect(tool.get_by_text("All 6 photos are captioned.")).to_be_visible(timeout=PATIENCE)
    expect(card).to_have_count(6)
    for scheme, width in (("light", 1280), ("dark", 390)):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(f"document.body.classList.contains('dark') === {str(scheme == 'dark').lower()}")
        narrow(page, width)
        keep_screenshot(page, f"dataset-{width}")
        assert faults_of(page) == []
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_a_photo_and_a_list_asked_for_together_both_come(server, open_page):
    page: Page = open_page()
    sign_in(page, server)
    page.get_by_role("tab", name="Data set").click()
    tool = page.locator("#imgcap-dataset")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/dataset/list*", hold, times=1)
    tool.get_by_role("button", name="The worst").click()
    tool.get_by_role("button", name="A random photo").click()
    expect(tool.get_by_role("article").locator(".imgcap-caption")).to_be_visible(timeout=PATIENCE)
    held[0].continue_()
    expect(tool.get_by_role("listitem")).to_have_count(6, timeout=PATIENCE)
    expect(tool.locator("[data-dataset=picture]")).to_be_focused()  # asked for last


def test_an_unfinished_list_goes_on_while_a_photo_is_looked_at_and_the_server_is_away(server, open_page):
    page: Page = open_page()
    sign_in(page, server)
    page.get_by_role("tab", name="Data set").click()
    tool = page.locator("#imgcap-dataset")
    answers: list[int] = []

    def answer(route: Route) -> None:
        answers.append(len(answers))
        if len(answers) == 1:
            route.fulfill(body='<p data-captioned="2" data-total="6">2 of 6</p>', content_type="text/html")
        elif len(answers) == 2:
            route.abort()
        elif len(answers) == 3:
            route.fulfill(status=502, body="<h1>Bad gateway</h1>")
        else:
            route.continue_()

    page.route("**/dataset/list*", answer)
    tool.get_by_role("button", name="The worst").click()
    expect(tool.get_by_text("2 of 6")).to_be_visible(timeout=PATIENCE)
    tool.get_by_role("button", name="A random photo").click()
    expect(tool.get_by_role("article").locator(".imgcap-caption")).to_be_visible(timeout=PATIENCE)
    expect(tool.get_by_role("listitem")).to_have_count(6, timeout=PATIENCE)
    assert len(answers) == 4
