"""Take the README's picture of the page, docs/page.png: `python benchmarks/page_picture.py [PHOTO]`.

Starts the app with its own model and settings in a folder of its own, registers, gives the photo, and waits for the
caption. Needs the development requirements and Chromium.
"""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "web")]

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
    chosen_photo = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "tests" / "samples" / "camera.png"
    main(chosen_photo, ROOT / "docs" / "page.png")
