"""Take the README's picture of the page, docs/page.png: `python -m benchmarks.page_picture [PHOTO]`.

Starts the app with its own model and settings in a folder of its own, registers, gives the photo, and waits for the
caption. Needs the development requirements and Chromium.
"""

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "web"), str(ROOT / "tests")]

from playwright.sync_api import sync_playwright  # noqa: E402  after the path is set
from running import PASSWORD, run_app  # noqa: E402

from imgcap.settings import Settings  # noqa: E402

PATIENCE = 180_000  # milliseconds; the model is loaded first


def main(photo: Path, picture: Path) -> None:
    """Write the screenshot to `picture`."""
    defaults = Settings()
    chosen = {"blur_threshold": defaults.blur_threshold}
    with (
        tempfile.TemporaryDirectory() as folder,
        run_app(Path(folder), Path(defaults.model), **chosen) as app,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1120, "height": 790})
        page.set_default_timeout(PATIENCE)
        page.goto(f"{app.url}/login/register")
        page.get_by_label("Name").fill("ada")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Register and sign in").click()
        page.locator("#imgcap-photo input[type=file]").set_input_files(photo)
        page.locator("#imgcap-caption").wait_for()
        page.wait_for_load_state("networkidle")
        page.screenshot(path=picture)
        print(f"{picture}: {page.locator('#imgcap-caption').inner_text()}")
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path, nargs="?", default=ROOT / "tests" / "samples" / "camera.png")
    main(parser.parse_args().photo, ROOT / "docs" / "page.png")
