import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import shapes
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imgcap.data.loading import CaptionedImages
from imgcap.errors import InputError
from imgcap.evaluation.metrics import cider_of_each, score
from imgcap.evaluation.mistakes import KINDS
from imgcap.evaluation.report import LAST_BIN, SECTION, check_place, contradictions, histogram, ranked, write_report

SEX, COLOUR, _, COUNT = KINDS
HOSTILE = """A <script>alert(1)</script> "man" & an 'onerror' {{ 7 * 7 }}."""


class Page(HTMLParser):
    """The cards under each heading, the tags and all text of a report."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.cards, self._open, self._section = [], "", {}, [], None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if tag not in ("meta", "img"):
            self._open.append(tag)
        if tag in ("h2", "h3"):
            self._section = attributes.get("id")
        if tag == "article":
            self.cards.setdefault(self._section, []).append({"references": [], "caption": "", "score": ""})
        elif tag == "img":
            self.cards[self._section][-1]["image"] = attributes
        self._class = attributes.get("class")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, text):
        self.text += f"{text} "
        if "article" not in self._open or not text.strip():
            return
        card = self.cards[self._section][-1]
        if self._open[-1] == "li":
            card["references"].append(text)
        elif self._class in ("caption", "score"):
            card[self._class] += text


def summarize(model, split, captions):
    """As `imgcap.evaluation.run.summarize`, without Java."""
    scores = score(captions, split.captions, resamples=20, with_meteor=False)
    return {"model": model, "split": "test", "n": len(split), **scores}


def write(folder, split, captions):
    place = folder / "report.html"
    write_report(place, summarize("a/model", split, captions), split, captions)
    return place.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def seventy(tmp_path_factory):
    """Seventy pictures, the captions of every third wrong and of every third right."""
    split = shapes.captioned_images(70)
    references = split.captions
    captions = [(row[0], row[2], "a man and two dogs")[number % 3] for number, row in enumerate(references)]
    return split, captions, Page(write(tmp_path_factory.mktemp("report"), split, captions))


def test_best_median_and_worst_stand_in_order_beside_their_references(seventy):
    split, captions, page = seventy
    references = split.captions
    cider = cider_of_each(captions, references)
    for name, rows in ranked(cider).items():
        cards = page.cards[name]
        assert len(cards) == SECTION
        for row, card in zip(rows, cards, strict=True):
            assert card["caption"] == captions[row]
            assert card["references"] == references[row]
            assert card["score"] == f"CIDEr-D {cider[row]:.3f}, row {row}"
    assert cider[ranked(cider)["best"][0]] == cider.max()
    assert cider[ranked(cider)["worst"][0]] == cider.min()


def test_the_pictures_are_in_the_page_and_nothing_is_fetched(seventy):
    split, _, page = seventy
    card = page.cards["best"][0]
    row = int(card["score"].split()[-1])
    scheme, payload = card["image"]["src"].split(",")
    assert scheme == "data:image/jpeg;base64"
    shown = Image.open(io.BytesIO(base64.b64decode(payload)))
    assert shown.size == (int(card["image"]["width"]), int(card["image"]["height"])) == split.images[row].size
    assert np.abs(np.asarray(shown, float) - np.asarray(split.images[row], float)).mean() < 8
    assert card["image"]["alt"] == f"Photograph: {card['references'][0]}"
    addresses = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert all(address.startswith(("data:image/jpeg", "#")) for address in addresses)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    targets = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {address[1:] for address in addresses if address.startswith("#")} == targets


def test_scores_and_mistakes_are_shown(seventy):
    split, captions, page = seventy
    text = " ".join(page.text.split())
    summary = summarize("a/model", split, captions)
    assert f"CIDEr {summary['CIDEr']:.3f}" in text
    assert "METEOR needs Java" in text
    assert "a/model on test" in text
    # No reference mentions people, so the word man is no mistake; each names one colour or none.
    assert re.search(r"sex 23 0 23 0.0%", text)
    assert ("html", {"lang": "en"}) in page.tags
    assert len([tag for tag, _ in page.tags if tag == "h1"]) == 1


def test_contradicted_captions_are_shown_with_what_contradicts_them(tmp_path):
    split = shapes.captioned_images(9)
    colours = ("red", "green", "blue")
    captions = [f"A {colours[(number // 2 + 1) % 3]} thing" for number in range(9)]  # always the next one
    page = Page(write(tmp_path, split, captions))
    assert "Colour: 4 of 9" in page.text
    assert "colour: the caption says green, references grey and red; red" in page.text
    assert len(page.cards[None]) == 4  # under a heading without an id


def test_hostile_text_is_shown_and_does_nothing(tmp_path):
    split = shapes.captioned_images(3)
    split = CaptionedImages("hostile", split.dataset, [[HOSTILE] * 5] * 3)
    place = tmp_path / "<b>&.html"
    summary = summarize("</title><script>evil()</script>", split, [HOSTILE] * 3)
    write_report(place, summary, split, [HOSTILE] * 3)
    page = Page(place.read_text(encoding="utf-8"))
    assert not any(tag in ("script", "b") for tag, _ in page.tags)
    card = page.cards["best"][0]
    assert card["caption"] == card["references"][0] == HOSTILE
    assert card["image"]["alt"] == f"Photograph: {HOSTILE}"


@pytest.mark.parametrize(("pictures", "shown"), [(1, 1), (2, 1), (3, 1), (59, 19), (60, 20), (1000, 20)])
def test_a_picture_stands_once_in_a_section_and_in_one_section(pictures, shown):
    rows = ranked(np.random.default_rng(0).random(pictures).round(1))
    assert [len(set(section)) for section in rows.values()] == [shown] * 3
    if pictures >= 3:
        assert len({row for section in rows.values() for row in section}) == 3 * shown


@pytest.mark.parametrize("pictures", [1, 4])
def test_a_few_pictures_are_enough(tmp_path, pictures):
    split = shapes.captioned_images(pictures)
    page = Page(write(tmp_path, split, ["a red disc"] * pictures))
    assert [len(page.cards[name]) for name in ("best", "median", "worst")] == [1, 1, 1]


@given(st.lists(st.floats(0, 10), min_size=1))
def test_the_histogram_holds_every_picture(scores):
    bins = histogram(np.array(scores))
    assert sum(count for _, count in bins) == len(scores)
    assert len(bins) == LAST_BIN + 1


def test_the_histograms_bins_hold_their_lower_edge():
    assert [edge for edge, count in histogram(np.array([0, 0.1, 0.3, 0.7, 2, 9])) if count] == pytest.approx(
        [0, 0.1, 0.3, 0.7, 2]
    )


def test_contradictions_in_words():
    references = ["Two women run", "A girl and a woman", "People"]
    assert contradictions(SEX, "A man", references) == ["sex: the caption says male, references female"]
    assert contradictions(COUNT, "A man", references) == ["people: the caption says 1, references 2; 2 or more"]
    assert contradictions(COLOUR, "A red and white car", ["a red car"]) == [
        "colour: the caption says red and white, references red"
    ]
    assert contradictions(SEX, "A girl", references) == []


def test_a_report_that_cannot_be_written_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(InputError, match=r"There is no folder '.*nowhere' for the report: make it first"):
        check_place(tmp_path / "nowhere" / "report.html")
    with pytest.raises(InputError, match="is a folder: give the name of a file"):
        check_place(tmp_path)
    split = shapes.captioned_images(1)
    for length in (250, 300):  # the first is too long only for the file that is written beside it
        with pytest.raises(InputError, match="cannot be written: File name too long"):
            write_report(tmp_path / ("a" * length), summarize("m", split, ["a"]), split, ["a"])
    assert list(tmp_path.iterdir()) == []


def test_a_report_replaces_the_one_before_and_leaves_nothing_beside_it(tmp_path):
    (tmp_path / "report.html").write_text("yesterday's")
    assert "yesterday's" not in Page(write(tmp_path, shapes.captioned_images(3), ["a red disc"] * 3)).text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
