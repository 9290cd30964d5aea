"""What can be done with a photo and its reading on the first tab, in a real Chromium."""

import base64
import re
from urllib.parse import urlsplit

import pytest
from browsing import PATIENCE, PHONE, faults_of, give, keep_screenshot, reading, sign_in
from PIL import Image
from playwright.sync_api import Route, expect
from running import ROOT, SHARP

from imgcap.reading import Reading
from imgcap.web.presentation.rendering import render_reading
from imgcap.web.texts import LANGUAGES

ENGLISH = LANGUAGES["en"]
EXAMPLES = ROOT / "imgcap" / "web" / "static" / "examples"
pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

# A paste or drop of a file, or of a text, as the browser sends it.
TRANSFER = """([kind, place, base64, text]) => {
  const transfer = new DataTransfer();
  if (base64) {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    transfer.items.add(new File([bytes], "photo.jpg", { type: "image/jpeg" }));
  } else transfer.setData("text/plain", text);
  const options = { bubbles: true, cancelable: true };
  const event = kind === "paste" ? new ClipboardEvent(kind, { ...options, clipboardData: transfer })
    : new DragEvent(kind, { ...options, dataTransfer: transfer });
  document.querySelector(place).dispatchEvent(event);
}"""


def announced(page):
    return page.locator("[role=status].imgcap-visually-hidden")


def test_an_example_is_read_looked_into_edited_and_compared(server, open_page):
    page = open_page()
    sign_in(page, server)
    keep_screenshot(page, "first")
    page.get_by_role("button", name="A photographer").click()
    whole = reading(page)
    caption = whole.locator("#imgcap-caption").inner_text()
    words = whole.get_by_role("group", name="Where it looked").get_by_role("button")
    expect(words.first).to_be_visible(timeout=PATIENCE)
    assert " ".join(words.all_inner_texts()) == caption.lower().rstrip(".")

    # Attention by keyboard: one stop of the Tab key, arrows along the words, Escape takes it off the photo.
    words.first.focus()
    shade = page.locator("#imgcap-photo .imgcap-attention")
    expect(shade).to_be_visible()
    assert "It looked at" in words.first.get_attribute("aria-description")
    page.keyboard.press("ArrowRight")
    expect(words.nth(1)).to_be_focused()
    cover = shade.bounding_box()
    with Image.open(EXAMPLES / "camera.jpg") as photo:  # it lies on the photo alone, not on the frame about it
        assert cover["width"] / cover["height"] == pytest.approx(photo.width / photo.height, rel=0.02)
    # It darkens what the model did not look at: all but the last square of the grid, here.
    words.nth(2).evaluate("word => { word.dataset.imgcapLook = '00'.repeat(48) + 'ff'; }")
    page.keyboard.press("ArrowRight")
    darkness = (
        "([x, y]) => document.querySelector('.imgcap-attention').getContext('2d').getImageData(x, y, 1, 1).data[3]"
    )
    far = [int(cover["width"]) - 9, int(cover["height"]) - 9]
    assert page.evaluate(darkness, [9, 9]) > 200 > 60 > page.evaluate(darkness, far)
    keep_screenshot(page, "attention")
    page.keyboard.press("Escape")
    expect(shade).to_have_count(0)
    words.nth(3).hover()
    expect(shade).to_be_visible()

    whole.get_by_role("button", name="Edit the caption").click()
    field = whole.get_by_label("Your caption")
    expect(field).to_be_focused()
    assert field.input_value() == caption
    assert faults_of(page) == []
    field.fill("A man behind a camera.")
    field.press("Control+Enter")
    expect(whole.locator("#imgcap-caption")).to_have_text("A man behind a camera.", timeout=PATIENCE)
    expect(announced(page)).to_have_text("Your caption is saved.")
    expect(whole.locator(".imgcap-written q")).to_have_text(caption)
    assert faults_of(page) == []
    whole.get_by_role("button", name="Restore the model's caption").click()
    expect(whole.locator("#imgcap-caption")).to_have_text(caption, timeout=PATIENCE)
    expect(whole.get_by_role("button", name="Edit the caption")).to_be_focused()
    whole.get_by_role("button", name="Edit the caption").click()
    field.fill(" ")
    field.evaluate("field => { field.required = false; field.form.requestSubmit(); }")
    expect(whole.get_by_role("alert")).to_contain_text(re.compile(r"\w+"), timeout=PATIENCE)
    field.press("Escape")
    expect(whole.locator("#imgcap-caption")).to_be_visible()

    page.get_by_role("button", name="Show where it is sharp").click()
    slider = page.get_by_role("slider", name="How much of the photo the map covers")
    expect(slider).to_be_visible(timeout=PATIENCE)
    slider.focus()
    page.keyboard.press("PageDown")
    share = page.locator(".imgcap-compare").evaluate("element => element.style.getPropertyValue('--share')")
    assert share == f"{slider.input_value()}%" != "100%"
    assert faults_of(page) == []
    keep_screenshot(page, "map")

    busy = Reading("photo.jpg", True, None, 30.0, 6.8)
    for shown in (render_reading(ENGLISH, step="opening"), render_reading(ENGLISH, busy, step="writing")):
        page.locator("#imgcap-reading .imgcap-reading").evaluate("(old, html) => { old.outerHTML = html; }", shown)
        assert faults_of(page) == []


def test_a_photo_is_pasted_and_dropped_anywhere_and_a_link_too(server, open_page, picture_site):
    page = open_page()
    sign_in(page, server)
    photo = base64.b64encode(SHARP.read_bytes()).decode()
    page.evaluate(TRANSFER, ["paste", "h1", photo, ""])
    reading(page)
    page.get_by_role("button", name=re.compile("Clear|Remove")).first.click()
    page.evaluate(TRANSFER, ["drop", "footer", photo, ""])
    reading(page)
    page.get_by_role("button", name=re.compile("Clear|Remove")).first.click()
    page.evaluate(TRANSFER, ["paste", "h1", "", f"{picture_site}/photo.jpg"])
    reading(page)
    page.get_by_role("button", name=re.compile("Clear|Remove")).first.click()
    link = page.get_by_label("Or a link to a photo")
    link.fill(f"{picture_site}/photo.jpg")
    link.press("Control+Enter")
    reading(page)
    page.evaluate(TRANSFER, ["paste", "h1", "", "no link"])
    expect(page.get_by_role("alert")).to_contain_text("drop or paste a photo")
    assert faults_of(page) == []


def test_words_saved_late_are_not_put_under_another_photo(server, open_page):
    page = open_page()
    sign_in(page, server)
    give(page, SHARP)
    whole = reading(page)
    first = whole.get_attribute("data-entry")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/history/edit", hold)
    page.get_by_role("button", name="Edit the caption").click()
    whole.locator("#imgcap-own").fill("My own words")
    whole.locator("#imgcap-own").press("Enter")
    other = base64.b64encode((SHARP.parent / "astronaut.jpg").read_bytes()).decode()
    page.evaluate(TRANSFER, ["paste", "body", other, ""])
    expect(whole).not_to_have_attribute("data-entry", first, timeout=PATIENCE)
    caption = reading(page).locator("#imgcap-caption")
    written = caption.inner_text()
    with page.expect_response("**/history/edit") as answer:
        held[0].continue_()
    assert answer.value.json()["caption"] == "My own words"
    expect(announced(page)).to_have_text("Your caption is saved.")
    expect(caption).to_have_text(written)


def test_the_voice_is_kept_and_speaks_by_itself_if_asked(server, open_page):
    page = open_page()
    page.add_init_script(
        "window.spoken = []; speechSynthesis.speak = (words) => window.spoken.push([words.text, words.rate]);"
    )
    sign_in(page, server)
    page.get_by_text("Voice", exact=True).first.click()
    page.get_by_label("Speed").fill("1.5")
    page.get_by_label("Speak each caption automatically").check()
    assert faults_of(page) == []
    page.reload()
    page.get_by_text("Voice", exact=True).first.click()
    expect(page.get_by_label("Speak each caption automatically")).to_be_checked()
    give(page, SHARP)
    caption = reading(page).locator("#imgcap-caption").inner_text()
    assert page.evaluate("window.spoken") == [[caption, 1.5]]


def test_another_model_is_chosen(server, open_page):
    page = open_page()
    sign_in(page, server)
    give(page, SHARP)
    entry = reading(page).get_attribute("data-entry")
    page.get_by_label("second").check()
    again = page.locator(f".imgcap-reading[data-step=done][data-entry]:not([data-entry='{entry}'])")
    expect(again).to_be_visible(timeout=PATIENCE)
    page.get_by_role("link", name="History").click()
    expect(page.get_by_role("heading", level=2)).to_have_count(2)


def test_the_page_speaks_the_browsers_language_or_the_chosen_one(server, open_page):
    page = open_page(locale="de-AT", **PHONE)
    page.goto(server.url)
    expect(page.get_by_role("heading", level=1)).to_have_text("Eine Beschreibung für ein scharfes Foto")
    page.get_by_label("Passwort").fill("geheim")
    page.get_by_role("button", name="Passwort zeigen").click()
    expect(page.get_by_label("Passwort")).to_have_attribute("type", "text")
    page.wait_for_function("document.querySelector('.pitch img').naturalWidth > 500")
    keep_screenshot(page, "sign-in-phone")
    page.get_by_label("Name").fill(server.newcomer().headers["x-name"])
    page.get_by_label("Passwort").fill("correct horse battery staple")
    page.get_by_role("button", name="Anmelden", exact=True).click()
    expect(page.get_by_role("tab", name="Foto")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("group", name="Länge der Beschreibung")).to_be_visible()
    give(page, SHARP)
    expect(reading(page).locator(".imgcap-badge")).to_have_text("✓ Gültig")
    assert faults_of(page) == []
    page.get_by_text("Sprache: Deutsch").click()
    page.get_by_role("button", name="Español").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Una descripción para una foto nítida", timeout=PATIENCE)
    assert page.evaluate("[document.documentElement.lang, navigator.language]") == ["es", "es"]
    expect(page.get_by_role("heading", name="Aquí aparece la lectura de tu foto")).to_be_visible(timeout=PATIENCE)


def test_on_a_phone_the_reading_follows_the_photo(server, open_page):
    page = open_page(**PHONE)
    sign_in(page, server)
    give(page, SHARP)
    reading(page)
    places = ["#imgcap-photo", ".imgcap-badge", "#imgcap-caption", ".imgcap-others", "#imgcap-link"]
    tops = [page.locator(place).first.bounding_box()["y"] for place in places]
    assert tops == sorted(tops)
    word = page.locator(".imgcap-words button").last
    word.scroll_into_view_if_needed()
    page.evaluate("scrollBy(0, 300)")
    word.tap()
    expect(page.locator(".imgcap-glance")).to_be_visible()  # the photo itself has scrolled away
    keep_screenshot(page, "phone-attention")


def test_nothing_comes_from_other_hosts_and_our_own_part_is_small(server, open_page):
    page, sizes = open_page(), {}

    def note(response) -> None:
        sizes[response.url] = int(response.headers.get("content-length", 0))

    page.on("response", note)
    sign_in(page, server)
    page.get_by_role("button", name="A cup of coffee").or_(page.get_by_role("button", name="Coffee")).click()
    reading(page)
    fetched = {url for url in sizes if not url.startswith(("data:", "blob:"))}
    assert {urlsplit(url).netloc for url in fetched} == {urlsplit(server.url).netloc}
    assert sum(size for url, size in sizes.items() if "/pages/" in url) < 1_500_000


def test_forced_colours_and_reduced_motion_are_respected(server, open_page):
    page = open_page(forced_colors="active", reduced_motion="reduce")
    sign_in(page, server)
    give(page, SHARP)
    whole = reading(page)
    assert whole.locator(".imgcap-badge").evaluate("badge => getComputedStyle(badge).borderStyle") == "solid"
    moving = page.evaluate(
        "() => document.getAnimations().filter((one) => one.effect?.getTiming().duration > 10).length"
    )
    assert moving == 0
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        keep_screenshot(page, f"forced-colours-{scheme}")
