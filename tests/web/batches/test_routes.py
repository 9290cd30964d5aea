"""A user's batch, over the routes that the tab uses."""

import csv
import io
import json
import re

from members import Member, pack
from PIL import Image
from running import BLURRED, SHARP

from imgcap.blur.sharpness import format_variance


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
    assert re.fullmatch(r"\d\d?% sure", sharp["sure"])
    assert "sure" not in blurred
    assert sharp["variance"] == format_variance(sharp["blur_variance"])  # as every other part of the page shows it
    assert "variance" not in notes
    spanish = ada.ask("GET", "/batch/state", headers={"accept-language": "es"}).json()["items"]
    assert spanish[0]["variance"] == sharp["variance"].replace(".", ",") != sharp["variance"]
    assert spanish[2]["error"].startswith("No es una imagen")
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


def test_what_is_meant_for_a_batch_that_was_replaced_does_not_change_the_newer_one(ada):
    ada.send("old.jpg", SHARP.read_bytes())
    old = ada.wait()["id"]
    ada.ask("POST", "/batch/delete", data={"id": old})
    ada.send("new.jpg", SHARP.read_bytes())
    new = ada.wait()
    for command in ("edit", "cancel", "resume", "delete"):
        answer = ada.ask("POST", f"/batch/{command}", data={"id": old, "number": "0", "caption": "For the old one"})
        assert (answer.status_code, "a newer one" in answer.json()["detail"]) == (400, True), command
    assert ada.ask("GET", "/batch/0.jpg", params={"id": old}).status_code == 400
    assert ada.state() == new
    assert ada.ask("GET", "/batch/0.jpg", params={"id": new["id"]}).status_code == 200
    assert ada.ask("POST", "/batch/edit", data={"id": new["id"], "number": "0", "caption": "Mine"}).status_code == 200
    assert ada.ask("POST", "/batch/delete", data={"id": new["id"]}).status_code == 200
    assert ada.state()["state"] == "empty"


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
