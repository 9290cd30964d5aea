"""The routes of the live tab."""

import threading

import pytest
from hostile import encode
from PIL import Image
from running import BLURRED, NO_LIMITS, PASSWORD, SHARP

from imgcap.web.intake.opening import FRAME_PIXELS
from imgcap.web.work import Work


@pytest.fixture
def open_live(open_app, tiny_captioner):
    def open_it(**chosen):
        client, services = open_app(model=str(tiny_captioner), **{**NO_LIMITS, **chosen})
        client.post("/login/register", data={"username": "ada", "password": PASSWORD})
        return client, services

    return open_it


def test_frames_are_judged_and_sharp_ones_described_and_nothing_is_kept(open_live):
    client, services = open_live()
    sharp = client.post("/live/frame", content=SHARP.read_bytes(), headers={"accept-language": "de"}).json()
    assert (sharp["valid"], sharp["caption"]) == (True, None)
    assert "Gültig" in sharp["html"]
    blurred = client.post("/live/frame", content=BLURRED.read_bytes()).json()
    assert (blurred["valid"], blurred["reason"]) == (False, "shaken")
    assert client.post("/live/caption", content=SHARP.read_bytes()).json()["caption"].endswith(".")
    assert client.post("/live/caption", content=BLURRED.read_bytes()).json()["caption"] is None
    assert services.history.count(services.accounts.get("ada").id) == 0


def test_frames_have_an_allowance_of_their_own_and_captions_count_as_captions(open_live):
    client, _ = open_live(frames_per_account="4/hour", captions_per_account="1/hour", pictures_per_account="1/hour")
    assert client.post("/live/frame", content=SHARP.read_bytes()).status_code == 200
    assert client.post("/live/caption", content=SHARP.read_bytes()).status_code == 200
    refused = client.post("/live/caption", content=SHARP.read_bytes())
    assert (refused.status_code, "ask for captions" in refused.json()["detail"]) == (429, True)
    assert client.post("/live/frame", content=SHARP.read_bytes()).status_code == 200
    refused = client.post("/live/frame", content=SHARP.read_bytes())
    assert (refused.status_code, "camera frames" in refused.json()["detail"]) == (429, True)
    assert int(refused.headers["retry-after"]) > 0


def test_what_is_no_frame_is_refused_in_a_sentence(open_live):
    client, _ = open_live()
    assert client.post("/live/frame", content=b"nothing").status_code == 400
    assert client.post("/live/frame", content=bytes(2**20)).status_code == 413
    large = encode(Image.new("RGB", (2_000, FRAME_PIXELS // 1_000)), "PNG")
    answer = client.post("/live/frame", content=large)
    assert (answer.status_code, "million pixels" in answer.json()["detail"]) == (400, True)


def test_one_account_has_one_frame_in_work(open_live, monkeypatch):
    client, _ = open_live()
    begun, go_on = threading.Event(), threading.Event()
    check = Work.check_frame

    def check_slowly(self, data, caller):
        begun.set()
        assert go_on.wait(30)
        return check(self, data, caller)

    monkeypatch.setattr(Work, "check_frame", check_slowly)
    answers = []
    first = threading.Thread(target=lambda: answers.append(client.post("/live/frame", content=SHARP.read_bytes())))
    first.start()
    assert begun.wait(30)
    second = client.post("/live/frame", content=SHARP.read_bytes())
    go_on.set()
    first.join()
    assert (answers[0].status_code, second.status_code) == (200, 429)


def test_strangers_have_no_camera_here(open_live):
    client, _ = open_live()
    client.cookies.clear()
    for path in ("/live/frame", "/live/caption"):
        assert client.post(path, content=SHARP.read_bytes()).status_code == 401
