"""The live tab in a real Chromium whose camera plays a film made here."""

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from browsing import CHROMIUM, PATIENCE, faults_of, keep_screenshot, narrow, sign_in
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect
from running import SAMPLES, SHARP

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

SIZE, RATE = (640, 360), 5


def save_film(path: Path) -> None:
    """Two seconds out of focus, then two sharp views of three seconds each, as YUV4MPEG2."""
    views = [np.asarray(Image.open(name).convert("RGB").resize(SIZE)) for name in (SHARP, SAMPLES / "rocket.jpg")]
    blurred = cv2.GaussianBlur(views[0], (0, 0), 12)
    with path.open("wb") as film:
        film.write(f"YUV4MPEG2 W{SIZE[0]} H{SIZE[1]} F{RATE}:1 Ip A1:1 C420jpeg\n".encode())
        for view, seconds in ((blurred, 2), (views[0], 3), (views[1], 3)):
            film.write((b"FRAME\n" + cv2.cvtColor(view, cv2.COLOR_RGB2YUV_I420).tobytes()) * (RATE * seconds))


@pytest.fixture(scope="module")
def filming(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    film = tmp_path_factory.mktemp("film") / "film.y4m"
    save_film(film)
    arguments = [
        "--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
    ]  # fmt: skip
    filming = browser.browser_type.launch(executable_path=CHROMIUM, args=arguments)
    yield filming
    filming.close()


def open_live(page: Page) -> Locator:
    page.get_by_role("tab", name="Live camera").click()
    tool = page.locator("#imgcap-live")
    expect(tool).to_be_visible(timeout=PATIENCE)
    return tool


def test_sharp_new_and_still_views_are_described_and_spoken(server, filming):
    context = filming.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.rsplit("/", 1)[-1]))
    page.add_init_script("window.spoken = []; speechSynthesis.speak = (words) => window.spoken.push(words.text);")
    sign_in(page, server)
    tool = open_live(page)
    assert faults_of(page) == []
    tool.get_by_label("Speak the captions").check()
    tool.get_by_role("button", name="Start the camera").click()
    expect(tool.get_by_role("button", name="Stop the camera")).to_be_focused(timeout=PATIENCE)
    expect(tool.locator(".imgcap-badge-invalid")).to_be_visible(timeout=PATIENCE)
    expect(tool.locator(".imgcap-badge-valid")).to_be_visible(timeout=PATIENCE)
    caption = tool.locator("[data-live=caption]")
    expect(caption).not_to_be_empty(timeout=PATIENCE)
    first = caption.inner_text()
    expect(tool.get_by_text("What it showed before")).to_be_visible(timeout=PATIENCE)  # the view has changed
    for width in (1280, 390):
        narrow(page, width)
        keep_screenshot(page, f"live-{width}")
        assert faults_of(page) == []
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    with page.expect_response("**/live/caption", timeout=PATIENCE):  # of the other view
        pass
    assert page.evaluate("window.spoken")[0] == first
    assert asked.count("frame") > 3 * asked.count("caption") > 0

    narrow(page, 1280)
    page.get_by_role("tab", name="Photo").click()
    page.wait_for_function("!document.querySelector('#imgcap-live video')?.srcObject", timeout=PATIENCE)
    page.get_by_role("tab", name="Live camera").click()
    expect(tool.get_by_role("button", name="Start the camera")).to_be_visible(timeout=PATIENCE)
    tool.get_by_role("button", name="Start the camera").click()
    expect(tool.locator(".imgcap-badge")).to_be_visible(timeout=PATIENCE)
    page.evaluate("const now = performance.now.bind(performance); performance.now = () => now() + 200000")
    expect(tool.get_by_text("nothing has changed for three minutes").first).to_be_visible(timeout=PATIENCE)
    context.close()


def test_what_is_wrong_with_the_camera_is_said(server, open_page: Callable[..., Page]):
    page = open_page()
    page.add_init_script(
        "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', window.refusal));"
    )
    sign_in(page, server)
    tool = open_live(page)
    for error, sentence in {
        "NotAllowedError": "permit it for this page",
        "NotFoundError": "There is no camera",
        "NotReadableError": "Another program uses the camera",
    }.items():
        page.evaluate("(name) => { window.refusal = name; }", error)
        tool.get_by_role("button", name="Start the camera").click()
        expect(tool.locator("[data-live=state]")).to_contain_text(sentence, timeout=PATIENCE)
        expect(page.locator("[role=status]", has_text=sentence)).to_have_count(1)
        expect(tool.get_by_role("button", name="Start the camera")).to_be_visible()


def test_two_cameras_are_switched(server, open_page):
    page = open_page()
    page.add_init_script("""
        window.asked = [];
        const drawn = document.createElement("canvas");
        navigator.mediaDevices.getUserMedia = async ({ video }) => {
          window.asked.push(video.facingMode.ideal);
          drawn.getContext("2d").fillRect(0, 0, 300, 150);
          return drawn.captureStream(5);
        };
        navigator.mediaDevices.enumerateDevices = async () => [{ kind: "videoinput" }, { kind: "videoinput" }];
    """)
    sign_in(page, server)
    tool = open_live(page)
    tool.get_by_role("button", name="Start the camera").click()
    tool.get_by_role("button", name="Switch the camera").click()
    page.wait_for_function("window.asked.length === 2", timeout=PATIENCE)
    assert page.evaluate("window.asked") == ["environment", "user"]
    tool.get_by_role("button", name="Stop the camera").click()
    expect(page.locator("[role=status]", has_text="The camera is off.")).to_have_count(1)
