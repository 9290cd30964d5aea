"""What the tests in a real Chromium share; their fixtures are in conftest.py."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect
from running import PASSWORD, ROOT, Running

CHROMIUM = "/usr/bin/chromium"
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
NARROW = {"viewport": {"width": 320, "height": 640}}
"""The smallest phones, and a wide screen at 400%."""
SCREENSHOTS = ROOT / "build" / "screenshots"
PATIENCE = 90_000  # milliseconds


def sign_in(page: Page, server: Running, name: str = "") -> str:
    name = name or server.newcomer().headers["x-name"]
    page.goto(server.url)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".imgcap-reading")).to_be_visible(timeout=PATIENCE)
    return name


def give(page: Page, photo: object) -> None:
    page.locator("#imgcap-photo input[type=file]").set_input_files(photo)


def reading(page: Page) -> Locator:
    """The reading, once it is whole."""
    whole = page.locator(".imgcap-reading[data-step=done]:has(.imgcap-badge)")
    expect(whole).to_be_visible(timeout=PATIENCE)
    return whole


def faults_of(page: Page) -> list[str]:
    expect(page.locator("p.loading")).to_have_count(0, timeout=PATIENCE)  # Gradio's, until the page is whole
    results = Axe().run(
        page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    )
    return [
        f"{page.url}: {fault['id']}: {node['html'][:200]}"
        for fault in results.response["violations"]
        for node in fault["nodes"]
    ]


def keep_screenshot(page: Page, name: str) -> None:
    """Keep a picture of the whole page in build/screenshots, for people to look at."""
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def narrow(page: Page, width: int = 390) -> None:
    """Make the page as narrow as a phone. Tabs are opened before: Gradio puts those that do not fit into a menu."""
    page.set_viewport_size({"width": width, "height": 844})
