"""The images that a signed-in user gives, opened without a server."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
from hostile import encode
from PIL import Image
from running import NO_LIMITS, SHARP, OneFileSite

from imgcap.errors import InputError
from imgcap.web.intake.opening import FRAME_PIXELS, MAX_URL, Caller, Opener, name_source
from imgcap.web.services import Services

ADA, BOB = Caller(1, "192.0.2.1"), Caller(2, "192.0.2.2")


@pytest.fixture
def services(open_app: Callable[..., tuple[object, Services]]) -> Services:
    """Of an app whose links may lead to this machine."""
    return open_app(allow_private_links=True, **NO_LIMITS)[1]


@pytest.fixture
def opener(services: Services) -> Opener:
    return services.work.opener


@pytest.fixture
def upload(services: Services) -> dict[str, str]:
    """A Gradio payload of ada's file."""
    path = services.uploads.folder / "photo.jpg"
    path.write_bytes(SHARP.read_bytes())
    services.uploads.add(path, ADA.user_id)
    return {"path": str(path)}


def test_a_file_and_a_link_give_the_same_image(opener, upload, picture_site):
    given = opener.open(upload, None, ADA)
    linked = opener.open(None, f"  {picture_site} ", ADA)
    in_its_place = opener.open({"path": picture_site}, None, ADA)
    for other in (linked, in_its_place):
        assert np.array_equal(given.pixels, other.pixels)
        assert other.reading.blur_variance == given.reading.blur_variance
        assert (other.reading.source, other.source) == (picture_site, "link")
    assert (given.reading.source, given.source) == ("photo.jpg", "picture")


@pytest.mark.parametrize("url", [None, "", "   ", 7, ["a link"]])
def test_neither_a_file_nor_a_link_is_said(opener, url):
    with pytest.raises(InputError, match="exactly one" if url != 7 and not isinstance(url, list) else "must be a text"):
        opener.open(None, url, ADA)


def test_both_a_file_and_a_link_are_refused(opener, upload, picture_site):
    with pytest.raises(InputError, match="exactly one"):
        opener.open(upload, picture_site, ADA)


@pytest.mark.parametrize("payload", ["photo.jpg", 7, {}, {"path": None}, {"path": 7}, {"url": "x"}])
def test_what_is_no_payload_of_a_file_is_refused_in_a_sentence(opener, payload):
    with pytest.raises(InputError, match="must be an uploaded file"):
        opener.open_upload(payload, ADA)


def test_nobody_opens_the_file_of_another(opener, upload):
    with pytest.raises(InputError):
        opener.open_upload(upload, BOB)
    assert opener.open_upload(upload, ADA).reading.valid


def test_the_image_at_a_link_can_be_kept_as_an_upload(opener, picture_site):
    path = opener.keep_link(picture_site, ADA)
    kept = opener.open_upload({"path": str(path)}, ADA)
    assert kept.source == "link"
    assert np.array_equal(kept.pixels, opener.open_link(picture_site, ADA).pixels)
    with pytest.raises(InputError):
        opener.open_upload({"path": str(path)}, BOB)


def test_a_long_link_is_shortened_in_the_reading(opener, picture_site: OneFileSite):
    url = f"{picture_site}?{'x' * MAX_URL}"
    assert opener.open_link(url, ADA).reading.source == url[:MAX_URL]
    assert name_source(None, url) == url[:MAX_URL]


def test_a_frame_is_small_and_a_file_need_not_be(opener):
    wide = encode(Image.effect_noise((2_000, FRAME_PIXELS // 2_000 + 1), 60), "PNG")
    with pytest.raises(InputError, match="million pixels"):
        opener.open_frame(wide, ADA)
    pixels, reading = opener.open_file(wide, "wide.png", ADA)
    assert pixels.shape == (FRAME_PIXELS // 2_000 + 1, 2_000, 3)
    assert reading.source == "wide.png"


def test_one_user_decodes_one_image_at_a_time_and_another_need_not_wait(opener, upload, services, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    read = services.uploads.read
    reading: list[int] = []

    def read_slowly(path: str, user_id: int) -> bytes:
        reading.append(user_id)
        begun.set()
        assert go_on.wait(30)
        return read(path, user_id)

    monkeypatch.setattr(services.uploads, "read", read_slowly)
    threads = [threading.Thread(target=opener.open_upload, args=(upload, ADA)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert begun.wait(30)
    assert opener.open_file(SHARP.read_bytes(), "b.jpg", BOB)[1].valid
    assert reading == [ADA.user_id]  # the second file is not even in memory
    go_on.set()
    for thread in threads:
        thread.join()
    assert reading == [ADA.user_id] * 2


@pytest.mark.parametrize(
    ("image", "url", "name"),
    [
        ({"path": "/tmp/gradio/secret/photo.jpg"}, None, "photo.jpg"),
        ({"path": "https://example.org/a.jpg"}, None, "https://example.org/a.jpg"),
        (None, " https://example.org/b.jpg ", "https://example.org/b.jpg"),
        ({"path": "/tmp/x/photo.jpg"}, "https://example.org/b.jpg", "photo.jpg"),
        (None, None, None),
        (7, 7, None),
    ],
)
def test_what_could_not_be_opened_is_named_without_paths_of_this_machine(image, url, name):
    assert name_source(image, url) == name
