"""The batch tab in a real Chromium."""

import io
import re
import zipfile
from pathlib import Path

import pytest
from browsing import PATIENCE, faults_of, keep_screenshot, narrow, sign_in
from playwright.sync_api import Locator, Page, Route, expect
from running import BLURRED, SHARP

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


def open_batch(page: Page) -> Locator:
    page.get_by_role("tab", name="Batch").click()
    tool = page.locator("#imgcap-batch")
    expect(tool).to_be_visible(timeout=PATIENCE)
    return tool


def send(page: Page, *files: Path | dict[str, object]) -> None:
    sent = [
        {"name": file.name, "mimeType": "image/x", "buffer": file.read_bytes()} if isinstance(file, Path) else file
        for file in files
    ]
    page.locator("#imgcap-batch input[type=file]").set_input_files(sent)


def archive_of(**files: bytes) -> dict[str, object]:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return {"name": "album.zip", "mimeType": "application/zip", "buffer": content.getvalue()}


def test_photos_are_captioned_while_away_sorted_edited_and_downloaded(server, open_page):
    page = open_page()
    name = sign_in(page, server)
    tool = open_batch(page)
    rows = tool.locator("tbody tr")
    send(page, SHARP)
    expect(rows).to_have_count(1, timeout=PATIENCE)  # files given together are sent two at a time, in no certain order
    archive = {"b.png": BLURRED.read_bytes(), "notes.txt": b"no picture", "c.jpg": SHARP.read_bytes()}
    send(page, archive_of(**archive))
    expect(rows).to_have_count(4, timeout=PATIENCE)
    page.goto(f"{server.url}/account")  # it goes on meanwhile
    page.context.clear_cookies()
    sign_in(page, server, name)

    tool = open_batch(page)
    expect(tool.get_by_text("Finished: 3 described or judged, 1 failed.")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("[role=status]", has_text="Finished: 3 described")).to_have_count(1)
    expect(rows.locator("th")).to_have_text(["coffee.jpg", "b.png", "notes.txt", "c.jpg"])
    expect(rows.nth(0).locator(".imgcap-badge")).to_have_text("✓ Valid")
    expect(rows.nth(1).locator(".imgcap-badge")).to_have_text("✗ Invalid: shaken")
    expect(rows.nth(2)).to_contain_text("not a picture")
    page.wait_for_function("document.querySelector('#imgcap-batch tbody img').naturalWidth > 200", timeout=PATIENCE)

    tool.get_by_label("Show").select_option("valid ones")
    expect(rows.locator("th")).to_have_text(["coffee.jpg", "c.jpg"])
    tool.get_by_label("Show").select_option("all photos")
    tool.get_by_label("Sort").select_option("softest first")
    expect(rows.first.locator("th")).to_have_text("b.png")
    tool.get_by_label("Sort").select_option("as sent")

    caption = tool.get_by_label("Caption of coffee.jpg")
    written = caption.input_value()
    caption.fill("My own words")
    caption.press("Control+Enter")
    expect(page.locator("[role=status]", has_text="The caption is saved.")).to_have_count(1)
    restore = tool.get_by_role("button", name=re.compile("Restore the model"))
    with page.expect_download() as table:
        tool.get_by_role("link", name="CSV").click()
    assert "My own words" in table.value.path().read_text()
    keep_screenshot(page, "batch")
    assert faults_of(page) == []
    restore.click()
    expect(caption).to_have_value(written)

    with page.expect_download() as download:
        tool.get_by_role("button", name="ZIP of the copies").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.namelist() == ["coffee.jpg", "c.jpg", "captions.csv"]
        assert written.encode() in archive.read("coffee.jpg")

    page.on("dialog", lambda dialog: dialog.accept())
    tool.get_by_role("button", name="Delete the batch").click()
    expect(tool.locator("table")).to_be_hidden()


@pytest.mark.parametrize(("scheme", "width"), [("dark", 1280), ("light", 320)])
def test_it_is_accessible_and_fits(server, open_page, scheme, width):
    page = open_page(color_scheme=scheme)
    sign_in_in_german(page, server)
    page.locator("#imgcap-tab-batch-button").click()
    tool = page.locator("#imgcap-batch")
    expect(tool).to_be_visible(timeout=PATIENCE)
    narrow(page, width)
    assert faults_of(page) == []
    send(page, SHARP, BLURRED, {"name": "a.txt", "mimeType": "text/plain", "buffer": b"no picture"})
    expect(tool.get_by_text("Fertig: 2")).to_be_visible(timeout=PATIENCE)
    keep_screenshot(page, f"batch-{width}")
    assert faults_of(page) == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_a_state_asked_for_before_the_last_file_had_arrived_is_not_the_last(server, open_page):
    page = open_page()
    sign_in(page, server)
    early = []
    page.route("**/batch/state*", lambda route: early.append((route, route.fetch())), times=1)
    tool = open_batch(page)
    with page.expect_response("**/batch/files*") as sent:
        send(page, SHARP)
    assert sent.value.ok
    [(route, answer)] = early
    assert answer.json()["items"] == []
    route.fulfill(response=answer)
    expect(tool.locator("tbody tr")).to_have_count(1, timeout=PATIENCE)


@pytest.mark.parametrize("status", [None, 502])
def test_a_server_that_is_away_when_the_last_file_has_arrived_is_asked_again(server, open_page, status):
    page = open_page()
    sign_in(page, server)
    tool = open_batch(page)
    refused = []

    def refuse(route: Route) -> None:
        refused.append(route)
        route.fulfill(status=status) if status else route.abort()

    page.route("**/batch/state*", refuse)
    with page.expect_response("**/batch/files*") as sent:
        send(page, SHARP)
    assert sent.value.ok
    before = len(refused)
    while len(refused) == before:  # pytest-timeout ends this
        page.wait_for_timeout(50)
    page.unroute("**/batch/state*")
    expect(tool.locator("tbody tr")).to_have_count(1, timeout=PATIENCE)


def sign_in_in_german(page: Page, server) -> None:
    page.context.add_cookies([{"name": "imgcap-language", "value": "de", "url": server.url}])
    name = server.newcomer().headers["x-name"]
    page.goto(server.url)
    page.locator("[name=username]").fill(name)
    page.locator("[name=password]").fill("correct horse battery staple")
    page.locator("form.card [type=submit]").click()
    expect(page.locator(".imgcap-reading")).to_be_visible(timeout=PATIENCE)


def test_the_keyboard_alone_is_enough_and_a_refused_file_is_said(server, open_page):
    page = open_page()
    sign_in(page, server)
    page.get_by_role("tab", name="Batch").focus()
    page.keyboard.press("Enter")
    tool = page.locator("#imgcap-batch")
    expect(tool).to_be_visible(timeout=PATIENCE)
    with page.expect_file_chooser() as chooser:
        tool.locator("input[type=file]").focus()
        page.keyboard.press("Enter")
    broken = {"name": "broken.zip", "mimeType": "application/zip", "buffer": b"PK\x03\x04 and nothing more"}
    chooser.value.set_files([broken])
    expect(tool.get_by_text("broken.zip: The archive is damaged")).to_be_visible(timeout=PATIENCE)
    assert faults_of(page) == []
