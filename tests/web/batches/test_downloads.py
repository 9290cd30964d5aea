"""The archive of a batch's copies."""

import csv
import io
import zipfile

import exiv2
from hostile import encode
from PIL import Image
from running import BLURRED, SHARP

from imgcap.images.alt_text import ALT_TEXT


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
