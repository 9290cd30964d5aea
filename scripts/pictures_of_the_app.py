"""Take screenshots of the running app for its own pages and the README: python -m scripts.pictures_of_the_app

It needs Chromium, and the trained checkpoint in models/.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
STATIC, DOCS = ROOT / "imgcap" / "web" / "static", ROOT / "docs"
CHROMIUM = "/usr/bin/chromium"
PASSWORD = "correct horse battery staple"  # noqa: S105  of a server that lives for a minute
PATIENCE = 120_000  # milliseconds


def main() -> None:
    """Start the app, take its screenshots, and draw its icons."""
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        settings = {"IMGCAP_DATA_DIR": folder, "IMGCAP_PORT": str(port)}
        app = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=os.environ | settings)
        url = f"http://127.0.0.1:{port}"
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            wait_for(url)
            httpx.post(f"{url}/login/register", data={"username": "ada", "password": PASSWORD})
            for scheme in ("light", "dark"):
                page = open_result(browser, url, scheme)
                if scheme == "light":
                    page.screenshot(path=DOCS / "page.png")
                take(page, f"product-{scheme}")
            draw_icons(browser)
        finally:
            browser.close()
            app.terminate()
            app.wait()


def wait_for(url: str) -> None:
    """Wait until the app answers."""
    for _ in range(240):
        try:
            if httpx.get(f"{url}/gradio_api/healthz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise SystemExit("The app does not answer.")


def open_result(browser: Browser, url: str, scheme: str) -> Page:
    """Return the page with the reading of an example photograph, and the attention of a word on the photo."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1200, "height": 1020})  # type: ignore[arg-type]
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(f"{url}/login")
    page.fill("#username", "ada")
    page.fill("#password", PASSWORD)
    page.keyboard.press("Enter")
    page.click("[data-imgcap-example=camera]")
    page.wait_for_selector(".imgcap-words")
    page.wait_for_timeout(500)
    return page


def take(page: Page, name: str) -> None:
    """Save the photo and the head of its reading, without the rest of the page, as WebP."""
    page.add_style_tag(content=".imgcap-look, .imgcap-look ~ * { visibility: hidden; }")
    stage, photo = (page.locator(place).bounding_box() for place in ("#imgcap-stage", "#imgcap-photo"))
    if stage is None or photo is None:
        raise SystemExit("The page shows no reading.")
    png = STATIC / f"{name}.png"
    edge = 16
    area = {"x": stage["x"] - edge, "y": stage["y"] - edge, "width": stage["width"] + 2 * edge}
    page.screenshot(path=png, clip=area | {"height": photo["height"] + 2 * edge})
    with Image.open(png) as picture:
        picture.save(png.with_suffix(".webp"), quality=80, method=6)
    png.unlink()


def draw_icons(browser: Browser) -> None:
    """Save the icon in the sizes that the manifest names; a maskable one fills its square."""
    mark = (STATIC / "icon.svg").read_text(encoding="utf-8")
    filled = mark.replace('rx="8"', "").replace(
        'viewBox="0 0 32 32"', 'viewBox="-4 -4 40 40" style="background:#0b5f99"'
    )
    for name, side, svg in (("icon-192", 192, mark), ("icon-512", 512, mark), ("icon-maskable-512", 512, filled)):
        page = browser.new_page(viewport={"width": side, "height": side})
        page.set_content(f"<style>body{{margin:0}}svg{{width:{side}px;height:{side}px;display:block}}</style>{svg}")
        page.screenshot(path=STATIC / f"{name}.png", omit_background=True)


if __name__ == "__main__":
    main()
