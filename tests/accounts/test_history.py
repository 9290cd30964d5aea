import csv
import hashlib
import io
import json
import os
import signal
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from processes import start_python
from sqlalchemy import select, text

from imgcap.accounts.database import open_database
from imgcap.accounts.history import COLUMNS, MAX_CAPTION, History, Origin, csv_cell, digest_picture, make_thumbnail
from imgcap.accounts.tables import HistoryEntry
from imgcap.errors import InputError
from imgcap.reading import Reading
from imgcap.settings import ROOT, Settings

PASSWORD = "four blue ducks sing"
ANN, BEN = 1, 2
LINK = Origin("link")
BLURRED = Reading("photo.jpg", False, "blurred", 12.25, 100.0)


def sharp(caption):
    return Reading("https://example.org/secret.jpg?token=1", True, None, 250.5, 100.0, caption, 0.75)


@pytest.fixture
def history(database, db_settings, accounts):
    assert [accounts.create(name, PASSWORD).id for name in ("ann", "ben")] == [ANN, BEN]
    return History(database, db_settings)


def captions(entries):
    return [entry.caption for entry in entries]


def test_a_reading_comes_back_as_it_was(history):
    before = datetime.now(UTC)
    kept = history.add(ANN, sharp("A dog runs."), b"jpeg", LINK)
    (entry,) = history.search(ANN)
    assert entry.id == kept
    assert before <= entry.created_at <= datetime.now(UTC)
    assert (entry.source, entry.variance, entry.threshold) == ("link", 250.5, 100.0)
    assert (entry.valid, entry.reason, entry.caption, entry.confidence) == (True, None, "A dog runs.", 0.75)
    assert history.get_thumbnail(ANN, kept) == b"jpeg"


def test_an_invalid_reading_has_a_reason_and_no_caption(history):
    history.add(ANN, BLURRED, b"jpeg")
    (entry,) = history.search(ANN)
    assert (entry.source, entry.valid, entry.reason, entry.caption, entry.confidence) == (
        "picture", False, "blurred", None, None
    )  # fmt: skip


def test_a_reading_with_an_error_is_no_history(history):
    with pytest.raises(ValueError, match="measurement"):
        history.add(ANN, Reading("x", None, None, None, 100.0, error="No picture."), b"jpeg")
    assert history.count(ANN) == 0


def test_links_and_file_names_are_not_kept(history, database):
    history.add(ANN, sharp("A dog runs."), b"jpeg", LINK)
    history.add(ANN, BLURRED, b"jpeg")
    with database.session(read_only=True) as session:
        stored = str(session.execute(text("SELECT * FROM history")).all())
    assert "example.org" not in stored
    assert "photo.jpg" not in stored


def test_newest_first_a_page_at_a_time(history):
    for i in range(7):
        history.add(ANN, sharp(f"Dog {i}."), b"jpeg")
    assert captions(history.search(ANN, limit=3)) == ["Dog 6.", "Dog 5.", "Dog 4."]
    assert captions(history.search(ANN, limit=3, offset=5)) == ["Dog 1.", "Dog 0."]
    assert history.search(ANN, limit=3, offset=10**6) == []


def test_search_finds_every_word_in_any_case_and_takes_none_for_a_pattern(history):
    for reading in (sharp("A dog runs."), sharp("A Cat and a dog."), sharp("100% wool."), BLURRED, sharp("x_y.")):
        history.add(ANN, reading, b"jpeg")
    for words, found in {
        "": ["x_y.", None, "100% wool.", "A Cat and a dog.", "A dog runs."],
        "DOG": ["A Cat and a dog.", "A dog runs."],
        "dog cat": ["A Cat and a dog."],
        "  dog \t runs ": ["A dog runs."],
        "blurred": [None],
        "%": ["100% wool."],
        "_": ["x_y."],
        "dog\x00runs": ["A dog runs."],
        "horse": [],
        "'; DROP TABLE history; --": [],
    }.items():
        assert captions(history.search(ANN, words)) == found, words
        assert history.count(ANN, words) == len(found), words


def test_one_users_readings_are_nothing_to_another(history):
    anns = history.add(ANN, sharp("Ann's dog."), b"ann's jpeg")
    bens = history.add(BEN, sharp("Ben's dog."), b"ben's jpeg")
    assert captions(history.search(BEN, "dog")) == ["Ben's dog."]
    assert history.count(BEN) == 1
    assert "Ann" not in history.to_csv(BEN)
    for theft in (history.get_thumbnail, history.delete, history.get, lambda *own: history.edit(*own, "Mine.")):
        with pytest.raises(InputError, match="no such reading"):
            theft(BEN, anns)
    assert history.get(ANN, anns).edited_caption is None
    assert history.delete_all(BEN) == 1
    assert history.get_thumbnail(ANN, anns) == b"ann's jpeg"
    with pytest.raises(InputError, match="no such reading"):
        history.get_thumbnail(BEN, bens)


def test_an_id_of_nothing_is_refused_in_a_sentence(history):
    for ask in (history.get_thumbnail, history.delete, history.get, lambda *own: history.edit(*own, "Mine.")):
        for entry in (0, -1, 10**6, 2**31, 2**63, 2**64, -(2**70)):
            with pytest.raises(InputError, match="no such reading"):
                ask(ANN, entry)


def test_readings_are_deleted_one_by_one_or_all(history):
    first, second, third = (history.add(ANN, sharp(f"Dog {i}."), b"jpeg") for i in range(3))
    history.delete(ANN, second)
    assert [entry.id for entry in history.search(ANN)] == [third, first]
    assert history.delete_all(ANN) == 2
    assert history.count(ANN) == 0
    assert history.delete_all(ANN) == 0


def test_a_persons_own_caption_is_kept_beside_the_models_which_can_be_restored(history):
    kept = history.add(ANN, sharp("A dog runs."), b"jpeg")
    assert history.edit(ANN, kept, "  Rex \n\t chases a ball. ").edited_caption == "Rex chases a ball."
    entry = history.get(ANN, kept)
    assert (entry.caption, entry.edited_caption, entry.shown_caption) == (
        "A dog runs.", "Rex chases a ball.", "Rex chases a ball."
    )  # fmt: skip
    for words in ("rex", "dog", "rex dog"):  # both are searched
        assert [found.id for found in history.search(ANN, words)] == [kept]
    (row,) = csv.DictReader(io.StringIO(history.to_csv(ANN), newline=""))
    assert (row["caption"], row["edited_caption"]) == ("A dog runs.", "Rex chases a ball.")
    assert history.edit(ANN, kept, None).shown_caption == "A dog runs."
    assert history.get(ANN, kept).edited_caption is None
    assert history.edit(ANN, kept, "A dog runs.").edited_caption is None, "what the model wrote is no edit"
    blurred = history.add(ANN, BLURRED, b"jpeg")  # its owner knows what it shows
    assert history.edit(ANN, blurred, "Our clock, shaken.").shown_caption == "Our clock, shaken."
    assert history.edit(ANN, blurred, None).shown_caption is None


def test_no_other_text_is_taken_for_a_caption(history):
    kept = history.add(ANN, sharp("A dog runs."), b"jpeg")
    for caption, sentence in {
        "": "empty",
        " \n ": "empty",
        "x" * (MAX_CAPTION + 1): f"has {MAX_CAPTION + 1} characters",
        "a\0b": "control character",
        "a\x1bb": "control character",
        "a\ud800": "control character",
    }.items():
        with pytest.raises(InputError, match=sentence):
            history.edit(ANN, kept, caption)
    assert history.get(ANN, kept).edited_caption is None
    assert history.edit(ANN, kept, "é🙂" * (MAX_CAPTION // 2)).edited_caption


def test_the_same_photo_twice_in_a_row_is_kept_once(history):
    cat, dog = (digest_picture(np.full((4, 4, 3), value, np.uint8)) for value in (7, 8))
    asked = Origin("picture", cat, "attention", "normal")
    first = history.add(ANN, sharp("A cat."), b"old", asked)
    history.edit(ANN, first, "Tom.")
    before = history.get(ANN, first).created_at
    again = history.add(ANN, sharp("A grey cat."), b"new", Origin("link", cat, "attention", "normal"))
    assert again == first
    (entry,) = history.search(ANN)
    assert (entry.caption, entry.edited_caption, entry.source) == ("A grey cat.", "Tom.", "link")
    assert entry.created_at > before
    assert history.get_thumbnail(ANN, first) == b"new"
    others = [
        (ANN, Origin("picture", cat, "attention", "long")),
        (ANN, Origin("picture", cat, "merge", "long")),
        (ANN, Origin("picture", dog, "merge", "long")),
        (ANN, Origin("picture", cat, "merge", "long")),  # not in a row
        (BEN, Origin("picture", cat, "merge", "long")),  # not of the same person
        (ANN, Origin()),
        (ANN, Origin()),  # nothing says that it is the same photo
    ]
    kept = [history.add(user, sharp("A cat."), b"jpeg", origin) for user, origin in others]
    assert len({first, *kept}) == 1 + len(others)


def test_pictures_of_the_same_bytes_and_another_shape_are_not_the_same():
    pixels = np.arange(48, dtype=np.uint8)
    wide, high = pixels.reshape(2, 8, 3), pixels.reshape(8, 2, 3)
    assert digest_picture(wide) == digest_picture(wide[::-1][::-1]) == digest_picture(wide.copy())
    assert len({digest_picture(wide), digest_picture(high), digest_picture(wide[::-1])}) == 3


def test_json_says_the_same_as_csv(history):
    unfamiliar = Reading(None, True, None, 250.5, 100.0, "Ein Hund läuft.", 0.5, warning="unfamiliar")
    kept = history.add(ANN, unfamiliar, b"jpeg", Origin("link", None, "attention", "short"))
    history.edit(ANN, kept, '"Rex", der Hund')
    (row,), (line,) = json.loads(history.to_json(ANN)), csv.DictReader(io.StringIO(history.to_csv(ANN), newline=""))
    assert tuple(row) == tuple(line) == COLUMNS
    assert {name: "" if value is None else str(value) for name, value in row.items()} == line
    assert (row["id"], row["valid"], row["confidence"], row["reason"]) == (kept, True, 0.5, None)
    assert (row["warning"], row["model"], row["length"], row["edited_caption"]) == (
        "unfamiliar", "attention", "short", '"Rex", der Hund'
    )  # fmt: skip
    assert json.loads(history.to_json(BEN)) == []


def test_no_reading_is_kept_for_an_account_that_is_gone(history, accounts):
    history.add(ANN, BLURRED, b"jpeg")
    accounts.delete(ANN)
    newcomer = accounts.create("ann", PASSWORD)
    with pytest.raises(InputError, match="no such account"):
        history.add(ANN, BLURRED, b"jpeg")
    assert history.count(newcomer.id) == history.count(ANN) == 0


def test_the_oldest_readings_make_room(database, accounts):
    history = History(database, Settings(history_limit=3))
    for name in ("ann", "ben"):
        user = accounts.create(name, PASSWORD)
        for i in range(5):
            history.add(user.id, sharp(f"{name} {i}."), b"jpeg")
    assert captions(history.search(ANN)) == ["ann 4.", "ann 3.", "ann 2."]
    assert history.count(BEN) == 3


def test_csv_reads_back(history):
    history.add(ANN, sharp('A dog, "Rex",\nruns.'), b"jpeg", LINK)
    history.add(ANN, BLURRED, b"jpeg")
    blurred, dog = csv.DictReader(io.StringIO(history.to_csv(ANN), newline=""))
    assert tuple(dog) == COLUMNS
    assert dog["caption"] == 'A dog, "Rex",\nruns.'
    assert (dog["source"], dog["valid"], dog["blur_variance"], dog["threshold"]) == ("link", "True", "250.5", "100.0")
    assert (blurred["valid"], blurred["reason"], blurred["caption"], blurred["confidence"]) == (
        "False",
        "blurred",
        "",
        "",
    )
    assert datetime.fromisoformat(dog["time"]).tzinfo is not None


def test_csv_of_nothing_is_a_header(history):
    assert history.to_csv(ANN) == ",".join(COLUMNS) + "\r\n"


def test_no_cell_is_a_formula(history):
    formulas = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", chr(0xFF1D) + "1+1", " =1+1"]
    for formula in formulas:
        history.add(ANN, sharp(formula), b"jpeg")
    rows = csv.DictReader(io.StringIO(history.to_csv(ANN), newline=""))
    assert [row["caption"] for row in rows] == [f"'{formula}" for formula in reversed(formulas)]


@given(st.text())
def test_any_text_is_a_harmless_cell_that_still_says_it(cell):
    shown = csv_cell(cell)
    assert shown.removeprefix("'") == cell.removeprefix("'")
    assert not shown.lstrip().startswith(tuple("=+-@"))


@pytest.mark.parametrize(("shape", "size"), [((3000, 4000), (512, 384)), ((40, 30), (30, 40)), ((1, 5000), (512, 1))])
def test_a_thumbnail_is_a_small_jpeg_of_the_same_shape(shape, size):
    picture = np.full((*shape, 3), (200, 30, 30), np.uint8)
    with Image.open(io.BytesIO(make_thumbnail(picture))) as thumbnail:
        assert (thumbnail.format, thumbnail.mode, thumbnail.size) == ("JPEG", "RGB", size)
        assert np.abs(np.asarray(thumbnail, int) - (200, 30, 30)).max() < 10
        assert not thumbnail.getexif()


@contextmanager
def writing(settings):
    """A process that adds readings until it is killed, which the block does; and its lines."""
    environment = os.environ | {"IMGCAP_DATA_DIR": str(settings.data_dir), "IMGCAP_DATABASE_URL": settings.database_url}
    read, write = os.pipe()
    process = start_python([Path(__file__).with_name("history_writer.py")], ROOT, environment, stdout=write)
    os.close(write)
    with os.fdopen(read) as lines:
        try:
            yield process, lines
        finally:
            process.kill()


def test_no_reading_is_lost_when_one_of_two_writing_processes_is_killed(history, database, db_settings):
    database.close()
    acknowledged = []

    def kill(process, lines, at_least):
        acknowledged.extend(islice(lines, at_least))
        process.kill()
        acknowledged.extend(line for line in lines if line.endswith("\n"))  # the last one may be cut
        assert process.wait() == -signal.SIGKILL

    with writing(db_settings) as other:  # a second process writes all the while; the first is killed twice
        acknowledged.extend(islice(other[1], 1))
        for at_least in (20, 5):
            with writing(db_settings) as first:
                kill(*first, at_least)
        kill(*other, 0)
    assert len(acknowledged) >= 20 + 5 + 1

    reopened = open_database(db_settings)
    with reopened.session(read_only=True) as session:
        kept = session.execute(select(HistoryEntry.id, HistoryEntry.caption, HistoryEntry.thumbnail)).all()
        if not db_settings.database_url:
            assert session.scalar(text("PRAGMA integrity_check")) == "ok"
    assert {tuple(line.split()) for line in acknowledged} <= {(str(entry), caption) for entry, caption, _ in kept}
    assert all(hashlib.sha256(thumbnail).hexdigest() == caption for _, caption, thumbnail in kept), "a torn reading"
    reopened.close()
