"""The data-set tab in a real Chromium."""

import pytest
from browsing import PATIENCE, faults_of, keep_screenshot, narrow, sign_in
from playwright.sync_api import Page, expect

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
