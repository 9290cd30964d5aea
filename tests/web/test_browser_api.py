"""The API tab: its snippets run unchanged, and Gradio's own panel is correct for this app."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from browsing import PATIENCE, PHONE, faults_of, sign_in
from playwright.sync_api import expect
from processes import run_python
from running import PASSWORD, SHARP

from imgcap.web.tabs.api import TOKEN

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

RUN = {"python": [sys.executable, "-"], "javascript": ["node", "--input-type=module", "-"], "curl": ["sh", "-eu"]}


@pytest.fixture
def token(server):
    member = server.newcomer()
    page = member.post("/account/tokens", data={"name": "agent", "days": "30", "password": PASSWORD}).text
    return re.search(r'value="(imgcap_[^"]+)"', page)[1]


def test_each_snippet_is_shown_for_this_server_copied_and_runs_as_it_is(server, open_page, token, tmp_path):
    page = open_page(permissions=["clipboard-read", "clipboard-write"], color_scheme="dark")
    sign_in(page, server)
    page.get_by_role("tab", name="API").click()
    page.get_by_label("Your token").fill(f" {token} ")
    shutil.copy(SHARP, tmp_path / "photo.jpg")
    for language, command in RUN.items():
        if shutil.which(command[0]) is None and os.environ.get("CI") != "true":
            continue
        copy = page.locator(f'button[aria-describedby="imgcap-snippet-{language}"]')
        copy.click()
        expect(copy).to_have_text("Copied")
        code = page.evaluate("navigator.clipboard.readText()")
        assert server.url in code
        assert TOKEN not in code
        if language == "python":
            done = run_python(["-"], tmp_path, input=code)
        else:
            done = subprocess.run(command, input=code, cwd=tmp_path, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, (language, done.stderr)
        assert re.search(r"[A-Z][a-z ]+\.", done.stdout), (language, done.stdout)
    assert faults_of(page) == []
    page.get_by_label("Your token").fill("")
    expect(page.locator(".imgcap-token").first).to_have_text(TOKEN)


def test_gradios_panel_says_what_the_parameters_are_and_offers_nothing_that_is_off(server, open_page):
    page = open_page(refused=frozenset({404}))  # it asks for the list of MCP's tools
    sign_in(page, server)
    page.get_by_role("button", name="Use via API").click()
    panel = page.get_by_role("dialog", name="Use via API")
    expect(panel.get_by_text("The image file (JPEG").first).to_be_visible(timeout=PATIENCE)
    expect(panel.get_by_text("Every request needs your access token")).to_be_visible()
    expect(panel.get_by_text("input value that is provided")).to_have_count(0)
    expect(panel.get_by_text("MCP", exact=True)).to_have_count(0)
    expect(panel.get_by_text("API Recorder")).to_have_count(0)
    expect(page.locator("#imgcap-refusal")).to_have_count(0)


def test_tabs_to_read_are_accessible_on_a_phone(server, open_page):
    page = open_page(**PHONE)
    sign_in(page, server)
    for name, heading in (("API", "An access token"), ("How it works", "The rule about blur")):
        page.get_by_role("button", name="More tabs").click()  # on a phone there is no room for all
        page.locator(".overflow-dropdown").get_by_role("button", name=name).click()
        expect(page.get_by_role("heading", name=heading)).to_be_visible(timeout=PATIENCE)
        assert faults_of(page) == []
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
