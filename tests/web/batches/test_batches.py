"""A user's batch, over the routes that the tab uses."""

import csv
import io
import json
import threading
import time
import zipfile

import exiv2
import pytest
from hostile import encode
from PIL import Image
from running import BLURRED, NO_LIMITS, PASSWORD, SHARP

from imgcap.errors import InputError
from imgcap.images.alt_text import ALT_TEXT
from imgcap.web.batches import engine

LOOSE = {name: limit for name, limit in NO_LIMITS.items() if not name.startswith(("captions", "pictures"))}


class Member:
    """A signed-in user with a batch."""

    def __init__(self, client, services, name: str) -> None:
        self.client, self.services = client, services
        client.cookies.clear()
        client.post("/login/register", data={"username": name, "password": PASSWORD})
        self.cookies = dict(client.cookies)
        self.id = services.accounts.get(name).id

    def ask(self, method: str, path: str, **options):
        self.client.cookies.clear()
        self.client.cookies.update(self.cookies)
        return self.client.request(method, path, **options)

    def send(self, name: str, content: bytes):
        return self.ask("POST", "/batch/files", params={"name": name}, content=content)

    def state(self, **since) -> dict:
        return self.ask("GET", "/batch/state", params=since).json()

    def wait(self) -> dict:
        deadline = time.monotonic() + 60
        while (state := self.state())["state"] == "running":
            assert time.monotonic() < deadline, state
            time.sleep(0.05)
        return state


@pytest.fixture
def open_batches(open_app, tiny_captioner):
    def open_it(begin: bool = True, **chosen):
        client, services = open_app(model=str(tiny_captioner), **({**NO_LIMITS, **chosen}))
        if begin:
            services.batches.start()
        return client, services

    return open_it


@pytest.fixture
def ada(open_batches) -> Member:
    return Member(*open_batches(), "ada")


def pack(**files: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def wait_until(true) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_files_and_archives_are_described_and_a_bad_one_stops_nothing(ada):
    assert ada.state()["state"] == "empty"
    assert ada.send("sharp.jpg", SHARP.read_bytes()).status_code == 200
    archive = pack(
        **{"album/blurred.png": BLURRED.read_bytes(), "notes.txt": b"no picture", "../again.jpg": SHARP.read_bytes()}
    )
    assert ada.send("album.zip", archive).status_code == 200
    state = ada.wait()
    assert (state["state"], state["total"], state["done"], state["failed"]) == ("finished", 4, 3, 1)
    sharp, blurred, notes, again = state["items"]
    assert [item["name"] for item in state["items"]] == ["sharp.jpg", "album/blurred.png", "notes.txt", "again.jpg"]
    assert sharp["valid"]
    assert sharp["caption"].endswith(".")
    assert sharp["caption"] == again["caption"]
    assert (blurred["valid"], blurred["reason"], blurred["caption"]) == (False, "shaken", None)
    assert "not a picture" in notes["error"]
    assert max(Image.open(io.BytesIO(ada.ask("GET", "/batch/0.jpg").content)).size) == 512
    assert ada.ask("GET", "/batch/2.jpg").status_code == 400

    # Nothing of a batch goes into the history, and what did not change is not sent again.
    assert ada.services.history.count(ada.id) == 0
    assert ada.state(id=state["id"], since=state["version"])["items"] == []


def test_a_caption_is_changed_and_restored_and_every_download_has_it(ada):
    ada.send("=cmd.jpg", SHARP.read_bytes())
    ada.send("blurred.png", BLURRED.read_bytes())
    written = ada.wait()["items"][0]["caption"]
    assert ada.ask("POST", "/batch/edit", data={"number": "0", "caption": " Mein\nKaffee ☕ "}).status_code == 200
    assert ada.state()["items"][0]["text"] == "Mein Kaffee ☕"
    for number, caption in (("0", "x" * 1_001), ("9", "x"), ("-1", "x"), ("x", "x")):
        assert ada.ask("POST", "/batch/edit", data={"number": number, "caption": caption}).status_code == 400

    first, second = (json.loads(line) for line in ada.ask("GET", "/batch.jsonl").text.splitlines())
    assert list(first) == [
        "source", "valid", "reason", "blur_variance", "threshold", "caption", "confidence", "alternatives", "error",
        "warning", "model_caption",
    ]  # fmt: skip
    assert (first["caption"], first["model_caption"]) == ("Mein Kaffee ☕", written)
    assert second["valid"] is False
    rows = list(csv.DictReader(io.StringIO(ada.ask("GET", "/batch.csv").content.decode())))
    assert rows[0]["source"] == "'=cmd.jpg"
    assert rows[0]["caption"] == "Mein Kaffee ☕"

    ada.ask("POST", "/batch/edit", data={"number": "0", "caption": ""})
    assert ada.state()["items"][0]["text"] == written


def alt_text_of(data: bytes) -> str:
    image = exiv2.ImageFactory.open(data)
    image.readMetadata()
    return image.xmpData()[ALT_TEXT].toString().removeprefix('lang="x-default" ')


def test_copies_bear_their_captions_in_them_or_beside_them(ada):
    persons = exiv2.ImageFactory.open(SHARP.read_bytes())
    persons.readMetadata()
    persons.xmpData()[ALT_TEXT] = exiv2.LangAltValue({"x-default": "My own"})
    persons.writeMetadata()
    gif = encode(Image.open(SHARP).convert("RGB"), "GIF")
    files = {
        "a.jpg": SHARP.read_bytes(),
        "b.jpg": bytes(persons.io().data()),
        "c.gif": gif,
        "blurred.png": BLURRED.read_bytes(),
    }
    for name, content in files.items():
        ada.send(name, content)
    ada.send("A.JPG", SHARP.read_bytes())
    items = ada.wait()["items"]

    def download(**query) -> zipfile.ZipFile:
        return zipfile.ZipFile(io.BytesIO(ada.ask("GET", "/batch.zip", params=query).content))

    archive = download()
    assert archive.testzip() is None
    assert archive.namelist() == ["a.jpg", "b.jpg", "c.gif", "c.gif.txt", "A (2).JPG", "captions.csv"]
    assert alt_text_of(archive.read("a.jpg")) == items[0]["caption"]
    assert archive.read("b.jpg") == files["b.jpg"]
    assert archive.read("c.gif") == gif
    assert archive.read("c.gif.txt").decode() == f"{items[2]['caption']}\n"
    outcomes = list(csv.DictReader(io.StringIO(archive.read("captions.csv").decode())))
    assert [row["outcome"].split(".")[0].split(":")[0] for row in outcomes] == [
        "written as alternative text", "not written", "beside it as text", "not in the archive",
        "written as alternative text",
    ]  # fmt: skip
    assert alt_text_of(download(overwrite="1").read("b.jpg")) == items[1]["caption"]

    beside = download(form="text")
    assert beside.read("a.jpg") == files["a.jpg"]
    assert beside.read("a.jpg.txt").decode() == f"{items[0]['caption']}\n"


def test_cancel_stops_what_waits_and_resume_goes_on(open_batches):
    ada = Member(*open_batches(begin=False), "ada")
    for number in range(4):
        ada.send(f"{number}.jpg", SHARP.read_bytes())
    ada.ask("POST", "/batch/cancel")
    ada.services.batches.start()
    state = ada.wait()
    assert (state["state"], state["done"]) == ("cancelled", 0)
    ada.ask("POST", "/batch/resume")
    assert ada.wait()["done"] == 4


def test_it_waits_for_its_allowance_and_leaves_some_to_the_person(open_batches, monkeypatch):
    ada = Member(*open_batches(**LOOSE, captions_per_account="7/hour", captions_per_address="100/hour"), "ada")
    for number in range(3):
        ada.send(f"{number}.jpg", SHARP.read_bytes())
    wait_until(lambda: ada.state()["done"] == 2 and ada.state()["wait_seconds"] > 0)
    state = ada.state()
    assert (state["state"], state["failed"]) == ("running", 0)
    assert state["wait_seconds"] > 3_000
    for _ in range(5):
        ada.services.throttle.hit("caption", account=ada.id, address=None)


def test_users_take_turns(open_batches, monkeypatch):
    client, services = open_batches(begin=False)
    ada, bob = Member(client, services, "ada"), Member(client, services, "bob")
    for member, number in ((ada, 6), (bob, 2)):
        for count in range(number):
            member.send(f"{count}.jpg", SHARP.read_bytes())
    order = []
    monkeypatch.setattr(engine, "WORKERS", 1)
    monkeypatch.setattr(engine.Batches, "_describe", lambda self, batch, item: order.append(batch.user_id))
    services.batches.start()
    wait_until(lambda: len(order) == 8)
    assert order[:4] in ([ada.id, bob.id] * 2, [bob.id, ada.id] * 2)


def test_anothers_batch_is_out_of_reach(open_batches):
    client, services = open_batches()
    ada, bob = Member(client, services, "ada"), Member(client, services, "bob")
    ada.send("a.jpg", SHARP.read_bytes())
    ada.wait()
    assert bob.state()["state"] == "empty"
    for path in ("/batch/0.jpg", "/batch.csv", "/batch.jsonl", "/batch.zip"):
        assert bob.ask("GET", path).status_code == 400, path
    for path in ("/batch/edit", "/batch/cancel", "/batch/resume"):
        assert bob.ask("POST", path, data={"number": "0", "caption": "x"}).status_code == 400, path
    bob.ask("POST", "/batch/delete")
    assert ada.state()["done"] == 1


def test_room_and_number_are_limited(open_batches):
    chosen = {"batch_files": 4, "upload_bytes_per_account": 2**20, "max_bytes": 2**19}
    ada = Member(*open_batches(begin=False, **chosen), "ada")
    assert ada.send("large.bmp", bytes(2**21)).status_code == 413
    assert ada.send("600kB.bmp", b"BM" + bytes(600_000)).status_code == 200
    assert "larger than 0.5 MB" in ada.state()["items"][0]["error"]
    many = ada.send("many.zip", pack(**{f"{number}.jpg": b"x" for number in range(4)}))
    assert (many.status_code, many.json()["detail"]) == (
        400, "The archive holds 4 files, and there is room for 3: send a part of it.",
    )  # fmt: skip
    bomb = ada.send("bomb.zip", pack(**dict.fromkeys("abc", bytes(500_000))))
    assert "unpacks to more" in bomb.json()["detail"]
    assert ada.send("3.jpg", b"x").status_code == 200
    full = ada.send("4.jpg", b"x")
    assert (full.status_code, "begin another" in full.json()["detail"]) == (400, True)
    # Its room counts among all uploads.
    assert ada.services.uploads._held[ada.id] > 500_000
    assert not list(ada.services.batches.folder.glob("*/incoming*"))


def test_the_next_process_goes_on_with_it(open_batches, tiny_captioner):
    ada = Member(*open_batches(begin=False), "ada")
    ada.send("a.jpg", SHARP.read_bytes())
    ada.send("b.jpg", SHARP.read_bytes())
    batches = ada.services.batches
    batches.start()
    wait_until(lambda: ada.state()["items"][0]["state"] == "done")
    ada.ask("POST", "/batch/edit", data={"number": "0", "caption": "Mine"})
    ada.ask("POST", "/batch/cancel")
    batches.close()
    [folder] = batches.folder.iterdir()
    (folder / "incoming-9").write_bytes(b"left by a broken connection")
    assert b"testclient" not in (folder / "state.json").read_bytes()  # no address

    again = engine.Batches(batches.folder, batches.limits, ada.services.work, ada.services.uploads, lambda _: True)
    again.start()
    again.resume(ada.id)
    wait_until(lambda: again.report(ada.id)["done"] == 2)
    assert again.report(ada.id)["items"][0]["text"] == "Mine"
    assert not (folder / "incoming-9").exists()
    again.close()


def test_it_is_deleted_by_hand_by_age_and_with_the_account(open_batches):
    client, services = open_batches()
    ada, bob, eve = (Member(client, services, name) for name in ("ada", "bob", "eve"))
    for member in (ada, bob, eve):
        member.send("a.jpg", SHARP.read_bytes())
        member.wait()
    folder = services.batches.folder
    assert len(list(folder.iterdir())) == 3
    ada.ask("POST", "/batch/delete")
    assert len(list(folder.iterdir())) == 2
    bob.ask("POST", "/account/delete", data={"password": PASSWORD})
    assert len(list(folder.iterdir())) == 1
    services.accounts.delete(eve.id)  # as the command line does, in another process
    services.batches.sweep()
    assert list(folder.iterdir()) == []
    assert services.uploads._held == {}

    ada.send("a.jpg", SHARP.read_bytes())
    ada.wait()
    services.batches._batches[ada.id].touched_at -= services.batches.limits.max_age + 1
    services.batches.sweep()
    assert list(folder.iterdir()) == []


def test_what_is_deleted_while_it_is_unpacked_stays_deleted(open_batches, monkeypatch):
    ada = Member(*open_batches(begin=False), "ada")
    reading, deleted = threading.Event(), threading.Event()
    members = engine.read_archive

    def read_slowly(*arguments, **limits):
        for member in members(*arguments, **limits):
            yield member
            reading.set()
            assert deleted.wait(30)

    monkeypatch.setattr(engine, "read_archive", read_slowly)
    answers = []
    archive = pack(a=SHARP.read_bytes(), b=SHARP.read_bytes())
    path = ada.services.batches.new_path(ada.id)
    path.write_bytes(archive)

    def add() -> None:
        try:
            ada.services.batches.add(path, "x.zip", engine.Caller(ada.id, None))
        except InputError as error:
            answers.append(str(error))

    thread = threading.Thread(target=add)
    thread.start()
    assert reading.wait(30)
    ada.services.batches.delete(ada.id)
    deleted.set()
    thread.join()
    assert answers == [engine.NO_BATCH]
    assert list(ada.services.batches.folder.iterdir()) == []


def test_a_state_that_cannot_be_read_goes(open_batches):
    _, services = open_batches(begin=False)
    batches, folder = services.batches, services.batches.folder / "1-x"
    folder.mkdir()
    (folder / "state.json").write_text('{"items": [{}]}')
    (services.batches.folder / "2-y").mkdir()
    engine.Batches(batches.folder, batches.limits, services.work, services.uploads, lambda _: True)
    assert list(batches.folder.iterdir()) == []
