"""The page in a real Chromium, as people use it."""

import io
import re
from contextlib import AbstractContextManager

import pillow_heif
import pytest
from browsing import NARROW, PATIENCE, PHONE, faults_of, give, keep_screenshot, reading, sign_in
from PIL import Image
from playwright.sync_api import expect
from running import BLURRED, PASSWORD, SHARP, serve

pillow_heif.register_heif_opener()

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


def test_a_newcomer_registers_gives_photos_and_finds_them_in_the_history(server, open_page):
    page = open_page()
    page.goto(server.url)
    expect(page).to_have_title("Sign in · imgcap")
    page.get_by_role("link", name="Register").click()
    page.get_by_label("Name").fill("Grace")
    page.get_by_label("Password").fill("short")
    page.get_by_role("button", name="Register and sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("too short")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Register and sign in").click()
    expect(page.get_by_role("link", name="Account · grace")).to_be_visible(timeout=PATIENCE)

    give(page, SHARP)
    sharp = reading(page)
    expect(sharp.locator(".imgcap-badge")).to_have_text("✓ Valid")
    expect(sharp.get_by_role("img")).to_have_attribute(
        "aria-label", re.compile(r"Laplacian variance \S+, at or above the threshold")
    )
    caption = sharp.locator("#imgcap-caption").inner_text()
    assert re.fullmatch(r"[A-Z][a-z ]+\.", caption)
    expect(sharp.locator(".imgcap-sure")).to_have_text(re.compile(r"^\d\d?% sure: .+\. Of captions like this one"))
    expect(sharp.get_by_role("heading", name="It also considered")).to_be_visible()
    expect(sharp.get_by_role("listitem").first).to_have_text(re.compile(r"^[A-Z].+\.( \d\d?% sure)?$"))
    # What a screen reader announces, once.
    expect(page.locator("[role=status].imgcap-visually-hidden")).to_have_text(caption)

    page.get_by_role("button", name="Show where it is sharp").click()
    expect(page.get_by_alt_text("The photo under a map of where it is sharp")).to_be_visible(timeout=PATIENCE)

    page.locator("#imgcap-photo").get_by_role("button", name=re.compile("Clear|Remove")).first.click()
    expect(page.get_by_text("Your reading appears here")).to_be_visible(timeout=PATIENCE)
    give(page, BLURRED)
    blurred = reading(page)
    expect(blurred.locator(".imgcap-badge")).to_contain_text("✗ Invalid")
    expect(blurred).to_contain_text("rest the camera on something")
    expect(blurred.locator("#imgcap-caption")).to_have_count(0)

    page.get_by_role("link", name="History").click()
    expect(page.get_by_role("heading", level=2)).to_have_text(["No caption", caption])
    page.get_by_role("button", name=re.compile("Delete the reading")).first.click()
    expect(page.get_by_role("heading", level=2)).to_have_text([caption])
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("status")).to_contain_text("You are signed out.")


def test_a_link_puts_its_picture_where_an_upload_would_be(server, open_page, picture_site):
    page = open_page()
    sign_in(page, server)
    link = page.get_by_label("Or a link to a photo")
    link.fill("http://127.0.0.1:9/nothing.jpg")
    link.press("Enter")
    expect(page.locator(".imgcap-error")).to_contain_text("That did not work.", timeout=PATIENCE)
    link.fill(f"{picture_site}/photo.jpg")
    page.get_by_role("button", name="Fetch").click()
    expect(reading(page).locator("#imgcap-caption")).to_be_visible()
    picture = page.get_by_alt_text("The photo you gave")
    expect(picture).to_be_visible()
    assert picture.evaluate("picture => picture.naturalWidth") == 600
    page.get_by_role("link", name="History").click()
    expect(page.locator(".reading")).to_contain_text("from a link")


def test_what_is_said_about_a_link_or_a_file_ends_with_the_next_photo(server, open_page):
    page = open_page(refused=frozenset({404}))  # a preview of a file that is no photo
    sign_in(page, server)
    give(page, {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"})
    expect(page.locator(".imgcap-error")).to_contain_text("not a picture", timeout=PATIENCE)
    photo = page.get_by_alt_text("The photo you gave")
    expect(photo).to_be_hidden()  # no broken picture
    page.get_by_label("Or a link to a photo").fill("http://127.0.0.1:9/nothing.jpg")
    page.get_by_role("button", name="Fetch").click()
    expect(page.locator("#imgcap-link-said")).to_contain_text("That did not work.", timeout=PATIENCE)
    give(page, SHARP)
    reading(page)
    expect(page.locator(".imgcap-error")).to_have_count(0)
    expect(photo).to_be_visible()


def test_a_text_that_is_no_photo_is_told_until_a_photo_comes(server, open_page):
    page = open_page()
    sign_in(page, server)
    paste = "data => document.body.dispatchEvent(new ClipboardEvent('paste', { bubbles: true, clipboardData: data }))"
    data = page.evaluate_handle(
        "() => { const data = new DataTransfer(); data.setData('text/plain', 'no link'); return data; }"
    )
    page.evaluate(paste, data)
    notice = page.locator("#imgcap-refusal")
    expect(notice).to_contain_text("That is not a photo")
    give(page, SHARP)
    reading(page)
    expect(notice).to_have_count(0)


def test_an_action_that_the_server_does_not_answer_says_so_in_the_apps_own_words(server, open_page):
    page = open_page()
    sign_in(page, server)
    give(page, SHARP)
    whole = reading(page)
    page.route("**/history/edit", lambda route: route.abort())
    page.get_by_role("button", name="Edit the caption").click()
    field = whole.locator("#imgcap-own")
    field.fill("My own words")
    field.press("Enter")
    error = whole.locator("#imgcap-own-error")
    expect(error).to_have_text("The caption could not be saved; try again.")
    page.route("**/history/edit", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"))
    field.press("Enter")
    expect(error).to_have_text("The caption could not be saved; try again.")
    page.unroute("**/history/edit")
    field.press("Enter")
    expect(whole.locator("#imgcap-caption")).to_have_text("My own words")
    page.route("**/history/edit", lambda route: route.abort())
    notice = page.locator("#imgcap-refusal")
    page.get_by_role("button", name="Restore the model").click()  # its form is closed
    expect(notice).to_contain_text("The caption could not be saved; try again.")
    page.unroute("**/history/edit")
    page.get_by_role("button", name="Restore the model").click()
    expect(notice).to_have_count(0)

    page.route("**/dataset/picture*", lambda route: route.abort())
    page.get_by_role("tab", name="Data set").click()
    page.get_by_role("button", name="A random photo").click()
    expect(page.locator("#imgcap-dataset .imgcap-error")).to_have_text("That did not work; try again in a moment.")

    page.get_by_role("tab", name="Batch").click()
    page.locator("#imgcap-batch input[type=file]").set_input_files(SHARP)
    caption = page.get_by_label(re.compile("^Caption of "))
    expect(caption).to_be_visible(timeout=PATIENCE)
    page.route("**/batch/edit", lambda route: route.abort())
    caption.fill("My own words")
    caption.press("Control+Enter")
    expect(notice).to_contain_text("The caption could not be saved; try again.")
    expect(caption).to_have_value("My own words")


@pytest.mark.parametrize("device", [{}, PHONE], ids=["desktop", "phone"])
def test_the_open_tab_outlasts_a_reload_and_leaving_the_page(server, open_page, device):
    page = open_page(**device)
    sign_in(page, server)
    page.get_by_role("tab", name="Live camera").click()
    tool = page.locator("#imgcap-tab-live")
    expect(tool).to_be_visible(timeout=PATIENCE)
    page.wait_for_url(f"{server.url}/#live")
    page.reload()
    expect(tool).to_be_visible(timeout=PATIENCE)
    page.goto(f"{server.url}/history")
    page.go_back()
    expect(tool).to_be_visible(timeout=PATIENCE)
    page.get_by_role("tab", name="Photo").click()
    expect(page.locator("#imgcap-photo")).to_be_visible()
    page.wait_for_url(f"{server.url}/")
    page.goto("about:blank")
    page.goto(f"{server.url}/#api")  # on a phone this tab is in a menu
    expect(page.locator("#imgcap-tab-api")).to_be_visible(timeout=PATIENCE)
    page.goto("about:blank")
    page.goto(f"{server.url}/#nothing")
    expect(page.locator("#imgcap-photo")).to_be_visible(timeout=PATIENCE)


def test_another_length_asks_again(server, open_page):
    page = open_page()
    sign_in(page, server)
    give(page, SHARP)
    normal = reading(page).locator("#imgcap-caption").inner_text()
    page.get_by_label("long").check()
    expect(page.locator("#imgcap-caption")).not_to_have_text(normal, timeout=PATIENCE)
    assert len(page.locator("#imgcap-caption").inner_text()) > len(normal)


def test_the_caption_is_copied(server, open_page):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    sign_in(page, server)
    give(page, SHARP)
    caption = reading(page).locator("#imgcap-caption").inner_text()
    page.get_by_role("button", name="Copy the caption").click()
    expect(page.locator("[role=status].imgcap-visually-hidden")).to_have_text("The caption is copied.")
    assert page.evaluate("navigator.clipboard.readText()") == caption


def test_the_caption_is_spoken(server, open_page):
    page = open_page()
    page.add_init_script(
        "window.spoken = []; speechSynthesis.speak = (words) => window.spoken.push([words.text, words.lang]);"
    )
    sign_in(page, server)
    give(page, SHARP)
    caption = reading(page).locator("#imgcap-caption").inner_text()
    page.get_by_role("button", name="Speak the caption").click()
    assert page.evaluate("window.spoken") == [[caption, "en"]]


LOOKS = {"light": {}, "dark": {"color_scheme": "dark"}, "phone": PHONE | NARROW}


@pytest.mark.parametrize("name", LOOKS)
def test_every_page_is_accessible_and_fits(server, open_page, name):
    options = LOOKS[name]
    page = open_page(**options)
    faults, seen = [], []

    def look(path: str = "") -> None:
        if path:
            page.goto(server.url + path)
        faults.extend(faults_of(page))
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, (page.url, overflow)
        keep_screenshot(page, f"{name}-{len(seen)}{page.url.removeprefix(server.url).replace('/', '-')}")
        seen.append(page.url)

    for path in ("/login", "/login/register", "/privacy"):
        look(path)
    sign_in(page, server)
    look()
    give(page, SHARP if "color_scheme" not in options else BLURRED)
    reading(page)
    look()
    for path in ("/history", "/account", "/logout"):
        look(path)
    assert faults == []


def test_all_colours_change_at_once_with_the_colour_scheme(server, open_page):
    page = open_page(color_scheme="light")
    sign_in(page, server)
    give(page, SHARP)
    reading(page)
    # Transitions of twenty times their length, so that what they show for a moment is there to be measured.
    page.context.new_cdp_session(page).send("Animation.setPlaybackRate", {"playbackRate": 0.05})
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(f"document.body.classList.contains('dark') === {str(scheme == 'dark').lower()}")
        assert faults_of(page) == []
    page.wait_for_function("!document.querySelector('.imgcap-at-once')")
    page.locator("#imgcap-fetch").hover()
    page.wait_for_function("document.getAnimations().some((one) => one instanceof CSSTransition)")


def test_the_photo_is_given_by_keyboard_alone(server, open_page):
    page = open_page()
    page.goto(server.url)
    name = server.newcomer().headers["x-name"]
    page.keyboard.type(name)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator(".imgcap-reading")).to_be_visible(timeout=PATIENCE)
    with page.expect_file_chooser() as chooser:
        page.locator("#imgcap-photo button").first.focus()
        page.keyboard.press("Enter")
    chooser.value.set_files(SHARP)
    reading(page)
    page.get_by_role("button", name="Copy the caption").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Speak the caption")).to_be_focused()


def framing(url: str) -> AbstractContextManager[str]:
    """A page on this machine that shows `url` in a frame; by the name localhost it is another site than 127.0.0.1."""
    return serve(
        f'<!doctype html><title>Outer</title><iframe src="{url}" width="1000" height="800"></iframe>'.encode(),
        "text/html",
    )


def test_it_works_in_the_frame_of_another_site(proxied_server, open_page):
    page = open_page()
    with framing(proxied_server.url) as outer:
        page.goto(outer.replace("127.0.0.1", "localhost"))
        frame = page.frame_locator("iframe")
        frame.get_by_role("link", name="Register").click()
        frame.get_by_label("Name").fill("framed")
        frame.get_by_label("Password").fill(PASSWORD)
        frame.get_by_role("button", name="Register and sign in").click()
        expect(frame.get_by_role("link", name="Account · framed")).to_be_visible(timeout=PATIENCE)
        (cookie,) = page.context.cookies(proxied_server.url)
        assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "None")
        assert cookie.get("partitionKey")


def test_a_site_that_is_not_listed_may_not_frame_it(server, browser):
    with framing(f"{server.url}/login") as outer, browser.new_context() as context:
        page = context.new_page()
        with page.expect_console_message(lambda said: "frame-ancestors" in said.text, timeout=PATIENCE):
            page.goto(outer.replace("127.0.0.1", "localhost"))


def test_a_session_that_ended_in_another_tab_is_said_in_a_sentence_with_the_way_back(server, open_page):
    page = open_page(refused=frozenset({401}))
    name = sign_in(page, server)
    page.context.request.post(f"{server.url}/logout")
    give(page, SHARP)
    notice = page.locator("#imgcap-refusal")
    expect(notice).to_contain_text("You are signed out.", timeout=PATIENCE)
    assert notice.get_attribute("role") == "alert"
    assert "{" not in page.locator("body").inner_text()
    assert faults_of(page) == []
    notice.get_by_role("link", name="Sign in again").click()
    expect(page).to_have_title("Sign in · imgcap")
    sign_in(page, server, name)

    page.goto(f"{server.url}/history")
    page.context.request.post(f"{server.url}/logout")
    page.reload()
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{server.url}/history")


@pytest.mark.parametrize(("kind", "mime"), [("HEIF", ""), ("TIFF", "application/octet-stream")])
def test_a_kind_that_the_browser_does_not_know_is_sent_judged_and_shown(server, open_page, kind, mime):
    page = open_page()
    sign_in(page, server)
    content = io.BytesIO()
    with Image.open(SHARP) as photo:
        photo.convert("RGB").save(content, kind)
    give(page, {"name": f"photo.{kind.lower()}", "mimeType": mime, "buffer": content.getvalue()})
    expect(reading(page).locator(".imgcap-badge")).to_have_text("✓ Valid")
    page.wait_for_function("document.querySelector('#imgcap-photo img')?.naturalWidth > 100", timeout=PATIENCE)
    assert "/preview?path=" in page.locator("#imgcap-photo img").get_attribute("src")
