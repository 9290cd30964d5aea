"""Files and archives that arrive for a batch."""

import threading

from members import Member, pack
from running import SHARP

from imgcap.errors import InputError
from imgcap.web.batches import receiving
from imgcap.web.batches.store import NO_BATCH
from imgcap.web.intake.opening import Caller


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


def test_what_is_deleted_while_it_is_unpacked_stays_deleted(open_batches, monkeypatch):
    ada = Member(*open_batches(begin=False), "ada")
    reading, deleted = threading.Event(), threading.Event()
    members = receiving.read_archive

    def read_slowly(*arguments, **limits):
        for member in members(*arguments, **limits):
            yield member
            reading.set()
            assert deleted.wait(30)

    monkeypatch.setattr(receiving, "read_archive", read_slowly)
    answers = []
    archive = pack(a=SHARP.read_bytes(), b=SHARP.read_bytes())
    batches = ada.services.batches
    path = batches.new_path(batches.get_or_begin(ada.id))
    path.write_bytes(archive)

    def add() -> None:
        try:
            receiving.add_file(batches, path, "x.zip", Caller(ada.id, None))
        except InputError as error:
            answers.append(str(error))

    thread = threading.Thread(target=add)
    thread.start()
    assert reading.wait(30)
    batches.delete(ada.id)
    deleted.set()
    thread.join()
    assert answers == [NO_BATCH]
    assert list(batches.folder.iterdir()) == []
