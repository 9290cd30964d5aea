import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocoevalcap.cider.cider import Cider

from imgcap.errors import InputError
from imgcap.inference.judging.cider import CiderD

WORDS = st.lists(st.sampled_from(["a", "the", "dog", "dogs", "runs", "on", "grass"]), max_size=9).map(" ".join)
PICTURES = st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=5)), min_size=1, max_size=6)


def coco_scores(candidates: list[str], references: list[list[str]]) -> list[float]:
    scores = Cider().compute_score(dict(enumerate(references)), {i: [c] for i, c in enumerate(candidates)})[1]
    return list(map(float, scores))


@given(PICTURES)
def test_equals_pycocoevalcap(pictures: list[tuple[str, list[str]]]) -> None:
    candidates, references = [c for c, _ in pictures], [r for _, r in pictures]
    if not any(word for captions in references for word in captions):
        return  # pycocoevalcap itself fails where no reference has a word
    scorer = CiderD(references)
    ours = [scorer.score([candidate], captions)[0] for candidate, captions in pictures]
    assert ours == pytest.approx(coco_scores(candidates, references), abs=1e-9)


def some_pictures(count: int) -> list[list[str]]:
    draw = random.Random(5)
    words = [f"w{int(draw.paretovariate(0.7)) % 60}" for _ in range(500)]
    return [[" ".join(draw.choices(words, k=draw.randint(5, 14))) for _ in range(5)] for _ in range(count)]


def test_many_candidates_of_a_picture_against_prepared_references() -> None:
    references = some_pictures(20)
    scorer = CiderD(references)
    candidates = [[captions[0], captions[1][::2], captions[2][:9], ""] for captions in references]
    ours = np.array([scorer.score(c, scorer.prepare(r)) for c, r in zip(candidates, references, strict=True)])
    for number in range(4):
        assert ours[:, number] == pytest.approx(coco_scores([c[number] for c in candidates], references), abs=1e-9)
    assert ours[:, 0].min() > 2  # each is one of its own references


@given(PICTURES)
def test_captions_compared_together_have_the_scores_of_each_pair(pictures: list[tuple[str, list[str]]]) -> None:
    scorer = CiderD([captions for _, captions in pictures])
    captions = [candidate for candidate, _ in pictures]
    expected = [scorer.score(captions, [reference]) for reference in captions]
    assert scorer.compare(scorer.weigh_together(captions)) == pytest.approx(np.array(expected).T)


@pytest.mark.parametrize("captions", [[], [""], ["", "a dog"]])
def test_no_captions_and_empty_ones_are_compared_too(captions: list[str]) -> None:
    scorer = CiderD([["a dog runs"], ["the grass"]])
    assert scorer.compare(scorer.weigh_together(captions)).shape == (len(captions), len(captions))


def test_sequences_of_ids_score_as_words_do() -> None:
    references = some_pictures(8)
    ids = [[[int(word[1:]) for word in caption.split()] for caption in captions] for captions in references]
    by_word, by_id = CiderD(references), CiderD(ids)
    for words, numbers in zip(references, ids, strict=True):
        assert by_id.score(numbers[:2], numbers[2:]).tolist() == by_word.score(words[:2], words[2:]).tolist()


def test_document_frequencies_of_another_split() -> None:
    training = some_pictures(30)
    everywhere = [[f"{caption} everywhere" for caption in captions] for captions in training]
    scorer = CiderD(everywhere)
    assert scorer.score(["everywhere"], ["everywhere"])[0] == 0  # a word that every image has weighs nothing
    assert scorer.score(["unheard"], ["unheard"])[0] == pytest.approx(2.5)  # of the four orders it has one
    assert scorer.score(["un heard of word"], ["un heard of word"])[0] == pytest.approx(10)


def test_what_cannot_be_scored() -> None:
    with pytest.raises(InputError, match="at least one picture"):
        CiderD([])
    with pytest.raises(InputError, match="at least one"):
        CiderD([["a dog"]]).prepare([])
    scorer = CiderD([["a dog"], ["a cat"]])
    assert scorer.score([], ["a dog"]).shape == (0,)
    assert scorer.compare(scorer.weigh_together([])).shape == (0, 0)
