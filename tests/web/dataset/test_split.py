"""The test split of a small data set made here."""

import json
import threading

import pytest
from markupsafe import escape
from running import NO_LIMITS, PASSWORD

from imgcap.captioner import Captioner
from imgcap.errors import InputError
from imgcap.inference.judging.cider import CiderD
from imgcap.settings import Settings
from imgcap.web.dataset.split import TestSplit as Split
from imgcap.web.dataset.split import tokens_of
from imgcap.web.models import Model
from imgcap.web.presentation.rendering import render
from imgcap.web.texts import LANGUAGES


@pytest.fixture
def open_split(caption_folder, tiny_captioner, tmp_path):
    captioner = Captioner(Settings(model=str(tiny_captioner), data_dir=tmp_path))

    def open_it(source=caption_folder) -> Split:
        split = Split(str(source), Model(captioner), tmp_path)
        split.open()
        return split

    yield open_it
    captioner.close()


def test_pictures_are_captioned_beside_peoples_captions_though_they_are_not_sharp(open_split):
    split = open_split()
    assert (split.state, len(split)) == ("ready", 6)
    assert split.picture(5).shape == (64, 64, 3)
    before = split.get(2)
    assert (before.caption, len(before.references)) == (None, 5)
    assert before.references[2] == "a red disc"
    one = split.describe(2)
    assert one.caption.endswith(".")
    assert len(one.scores) == 5
    assert one.score == pytest.approx(sum(one.scores) / 5)
    assert split.get(2) == one


def test_the_score_is_cider_d_with_the_splits_own_frequencies(open_split):
    split = open_split()
    one = split._keep(0, "A blue disc on a grey ground.")
    scorer = CiderD([tokens_of(caption) for caption in split.get(number).references] for number in range(6))
    [expected] = scorer.score([tokens_of(one.caption)], [tokens_of(reference) for reference in one.references])
    assert one.score == pytest.approx(expected)
    assert one.scores[0] == max(one.scores) > 5
    assert tokens_of("The dog's owner - a well-known man .") == ["the", "dog's", "owner", "a", "well-known", "man"]


def test_search_finds_every_word_in_any_of_a_pictures_captions(open_split):
    split = open_split()
    assert [one.number for one in split.search("DISC green", 10)] == [4]
    assert len(split.search("ground", 3)) == 3
    assert split.search("nowhere", 10) == split.search("  ", 10) == []
    split._keep(0, "A zebra.")
    assert [one.number for one in split.search("zebra", 10)] == [0]


def test_the_best_and_the_worst_are_found_in_the_background_and_kept(open_split, monkeypatch):
    split = open_split()
    assert split.rank("best", 3) == []
    split._ranking.join(60)
    assert split.captioned == 6
    best, worst = split.rank("best", 6), split.rank("worst", 6)
    assert [one.score for one in best] == sorted((one.score for one in best), reverse=True)
    assert [one.number for one in worst] == [one.number for one in best][::-1]
    assert split.mean == pytest.approx(sum(one.score for one in best) / 6)
    monkeypatch.setattr(Captioner, "complete", None)  # nothing is written again
    assert open_split().rank("best", 6) == best


def test_closing_ends_the_work_and_keeps_what_is_done(open_split, monkeypatch, tmp_path):
    split = open_split()
    second, describe = threading.Event(), Split.describe

    def describe_slowly(self, number, user=None):
        if number == 1:
            second.set()
            self._closing.wait(30)
        return describe(self, number, user)

    monkeypatch.setattr(Split, "describe", describe_slowly)
    split.rank("best", 1)
    assert second.wait(60)
    split.close()
    [kept] = tmp_path.glob("test-split-*.json")
    assert set(json.loads(kept.read_text())) == {"0", "1"}


@pytest.mark.parametrize("source", ["empty", "no/such-data-set"])
def test_a_data_set_that_cannot_be_used_says_why(open_split, tmp_path, source):
    (tmp_path / "empty").mkdir()
    split = open_split(tmp_path / source if source == "empty" else source)
    assert split.state == "failed"
    assert split.problem.endswith((".", "..."))
    with pytest.raises(InputError):
        split.get(0)
    assert escape(split.problem) in render("dataset.html", LANGUAGES["en"], split=split)


def test_other_columns_are_refused_in_a_sentence(open_split, tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    (tmp_path / "other").mkdir()
    parquet.write_table(pa.table({"picture": [1], "text": ["x"]}), tmp_path / "other" / "test.parquet")
    assert "caption_0" in open_split(tmp_path / "other").problem


def test_the_routes_are_for_members_and_what_they_send_is_escaped(open_app, caption_folder, tiny_captioner):
    client, services = open_app(model=str(tiny_captioner), dataset=str(caption_folder), **NO_LIMITS)
    for path in ("/dataset/picture", "/dataset/list?order=best", "/dataset/0.jpg"):
        assert client.get(path).status_code == 401
    client.post("/login/register", data={"username": "ada", "password": PASSWORD})
    assert client.get("/dataset/picture").status_code == 400  # it is still being read
    services.split.open()
    services.split._references[0] = ("<b>bold</b>",) * 5
    shown = client.get("/dataset/picture", params={"number": 0}).text
    assert "&lt;b&gt;bold" in shown
    assert "<b>" not in shown
    assert client.get("/dataset/0.jpg").headers["content-type"] == "image/jpeg"
    assert client.get("/dataset/6.jpg").status_code == 400
    assert "green disc" in client.get("/dataset/list", params={"q": "green disc"}).text
    assert "Foto" in client.get("/dataset/picture", headers={"accept-language": "de"}).text


def test_a_caption_is_counted_once(open_app, caption_folder, tiny_captioner):
    limits = {**NO_LIMITS, "captions_per_account": "1/hour"}
    client, services = open_app(model=str(tiny_captioner), dataset=str(caption_folder), **limits)
    client.post("/login/register", data={"username": "ada", "password": PASSWORD})
    services.split.open()
    answers = [client.get("/dataset/picture", params={"number": number}).status_code for number in (0, 0, 1)]
    assert answers == [200, 200, 429]


def test_without_a_data_set_it_says_how_to_get_one(open_app):
    client, services = open_app(**NO_LIMITS)
    client.post("/login/register", data={"username": "ada", "password": PASSWORD})
    assert services.split is None
    assert "IMGCAP_DATASET" in client.get("/dataset/picture").json()["detail"]
    assert "IMGCAP_DATASET=jxie/flickr8k" in render("dataset.html", LANGUAGES["de"], split=None)
