"""The history, the account and its tokens in a real Chromium."""

import re

import pytest
from browsing import PHONE, faults_of
from playwright.sync_api import expect
from running import PASSWORD, SHARP

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


def add_reading(server, member):
    """Have a photo captioned through the API; return the reading."""
    with SHARP.open("rb") as photo:
        (path,) = member.post("/gradio_api/upload", files={"files": photo}).json()
    event = member.post("/gradio_api/call/v2/caption", json={"image": {"path": path}}).json()["event_id"]
    assert "complete" in member.get(f"/gradio_api/call/caption/{event}").text
    return member.get("/history.json").json()[0]


def open_as(page, member):
    page.context.add_cookies(
        [{"name": name, "value": value, "url": str(member.base_url)} for name, value in member.cookies.items()]
    )
    return page


def test_a_reading_is_opened_again_edited_restored_and_deleted(server, open_page):
    member = server.newcomer()
    kept = add_reading(server, member)
    page = open_as(open_page(**PHONE, device_scale_factor=2, color_scheme="dark"), member)
    faults = []

    def look():
        faults.extend(faults_of(page))
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0

    page.goto(f"{server.url}/history")
    photo = page.locator(".reading img")
    expect(photo).to_have_js_property("complete", True)
    natural, fit = photo.evaluate("img => [[img.naturalWidth, img.naturalHeight], getComputedStyle(img).objectFit]")
    assert fit == "contain"  # nothing is cropped
    assert natural == [512, 341]
    page.set_viewport_size({"width": 1280, "height": 844})
    assert natural[0] >= 1.8 * photo.evaluate("img => img.clientWidth")  # sharp with two pixels to a point
    page.set_viewport_size(PHONE["viewport"])
    look()
    page.locator(".reading").click(position={"x": 20, "y": 20})  # anywhere on the card
    expect(page.get_by_role("heading", level=1)).to_have_text(kept["caption"])
    expect(page.locator(".imgcap-gauge")).to_have_attribute("aria-label", re.compile("at or above the threshold"))
    look()
    box = page.get_by_role("textbox", name="Your own caption")
    box.fill("A cup of coffee.")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Your caption is saved.")
    expect(page.get_by_role("heading", level=1)).to_have_text("A cup of coffee.")
    expect(page.get_by_text(kept["caption"])).to_be_visible()
    look()
    box.fill("x")
    box.evaluate("box => { box.removeAttribute('required'); box.value = ''; }")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("The caption is empty")
    look()
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(kept["caption"])
    with page.expect_download() as download:
        page.goto(f"{server.url}/history")
        page.get_by_role("link", name="Download as JSON").click()
    assert download.value.suggested_filename == "imgcap-history.json"
    page.locator(".reading a").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("Nothing here yet")).to_be_visible()
    assert faults == []


def test_a_token_is_made_on_the_account_page_used_and_revoked(server, open_page):
    member = server.newcomer()
    page = open_as(open_page(), member)
    page.goto(f"{server.url}/account")
    page.get_by_label("Name", exact=True).fill("my agent")
    page.get_by_label("Expires").select_option("30")
    page.locator("#token-password").fill(PASSWORD)
    page.get_by_role("button", name="Make a token").click()
    token = page.get_by_role("textbox", name="Your new token “my agent”").input_value()
    assert faults_of(page) == []
    agent = server.client(Authorization=f"Bearer {token}")
    assert agent.get("/history.json").json() == []
    page.goto(f"{server.url}/account")
    expect(page.get_by_text("last used")).to_be_visible()
    page.get_by_role("button", name="Revoke the token “my agent”").click()
    expect(page.get_by_role("status")).to_contain_text("is revoked.")
    assert agent.get("/history.json").status_code == 401


@pytest.mark.parametrize("locale", ["en", "es", "de"])
def test_on_a_phone_the_navigation_of_every_page_is_one_line(server, open_page, locale):
    page = open_as(open_page(**PHONE, locale=locale), server.newcomer())
    for path in ("/history", "/account", "/privacy", "/"):
        page.goto(f"{server.url}{path}")
        links = page.locator(".imgcap-links > *")
        expect(links.first).to_be_visible()
        tops = links.evaluate_all("links => links.map(link => link.getBoundingClientRect().top)")
        assert max(tops) - min(tops) < 8, path
