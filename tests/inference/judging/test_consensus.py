import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgcap.errors import InputError
from imgcap.inference.judging.cider import CiderD
from imgcap.inference.judging.consensus import FILE, choose, expected_cider, load_scorer, save_frequencies

UNKNOWN = 3
CAPTION = st.lists(st.integers(4, 9), min_size=1, max_size=8)
PICTURES = st.lists(st.lists(CAPTION, min_size=1, max_size=4), min_size=2, max_size=6)


@given(PICTURES, st.lists(CAPTION, min_size=1, max_size=5))
def test_stored_frequencies_score_as_the_captions_themselves_do(tmp_path_factory, pictures, captions):
    folder = tmp_path_factory.mktemp("model")
    save_frequencies(folder, pictures, UNKNOWN)
    expected = CiderD(pictures).score(captions, pictures[0])
    assert load_scorer(folder).score(captions, pictures[0]) == pytest.approx(expected)


def test_grams_with_an_unknown_word_are_left_out(tmp_path):
    save_frequencies(tmp_path, [[[4, UNKNOWN, 5]], [[4, UNKNOWN, 5]], [[4, 6]]], UNKNOWN)
    scorer = load_scorer(tmp_path)
    # "4 <unk>" would have an inverse frequency of log(3 / 2) if it were there, and is as rare as anything without it.
    assert scorer.score([[4, UNKNOWN]], [[4, UNKNOWN]])[0] == pytest.approx(5)
    assert scorer.score([[4]], [[4]])[0] == 0  # a word that every image has weighs nothing


def test_a_captioner_without_the_file_has_no_scorer(tmp_path):
    assert load_scorer(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(InputError, match="is damaged or from another version; fit it again"):
        load_scorer(tmp_path)


def test_what_cannot_be_stored_is_refused(tmp_path):
    with pytest.raises(InputError, match="at least one picture"):
        save_frequencies(tmp_path, [], UNKNOWN)
    with pytest.raises(InputError, match="fewer than 65536"):
        save_frequencies(tmp_path, [[[70_000, 5]], [[70_000, 6]]], UNKNOWN)


def test_the_caption_that_the_others_agree_with_wins():
    scorer = CiderD([[[4, 5, 6, 7]], [[8, 9, 10]], [[11, 12]], [[13]]])
    candidates = scorer.weigh_together([[13, 12, 11], [4, 5, 6, 7], [4, 5, 6, 8]])
    expected = expected_cider(scorer, candidates, [-0.9, -1.0, -1.0], sharpness=0)
    assert int(np.argmax(expected)) == 1
    sharp = expected_cider(scorer, candidates, [-0.9, -1.0, -1.0], sharpness=100)
    assert int(np.argmax(sharp)) == 0


def test_the_search_score_outweighs_agreement_where_it_differs_much():
    scorer = CiderD([[[4, 5, 6, 7]], [[8, 9, 10]], [[11, 12]], [[13]]])
    candidates = scorer.weigh_together([[13, 12, 11], [4, 5, 6, 7], [4, 5, 6, 8]])
    assert choose(scorer, candidates, [-1.0, -1.0, -1.0], [-1.0, -1.0, -1.0]) == 1
    assert choose(scorer, candidates, [-1.0, -1.0, -1.0], [-1.0, -9.0, -9.0]) == 0
    assert choose(scorer, candidates, [-1.0, -1.0, -1.0], [-1.0, -9.0, -9.0], weight=0) == 1


def test_predicted_ngrams_outweigh_agreement():
    scorer = CiderD([[[4, 5, 6, 7]], [[8, 9, 10]], [[11, 12]], [[13]]])
    candidates = scorer.weigh_together([[13, 12, 11], [4, 5, 6, 7], [4, 5, 6, 8]])
    alike = [-1.0, -1.0, -1.0]
    assert choose(scorer, candidates, alike, alike, by_ngrams=np.zeros(3)) == 1
    assert choose(scorer, candidates, alike, alike, by_ngrams=np.array([1.0, 0.0, 0.2])) == 0


def test_expected_cider_by_hand():
    scorer = CiderD([[[4, 5]], [[6, 7]], [[8, 9]]])
    first, second = [4, 5, 6], [4, 5, 7]
    weights = np.array([1, np.exp(-0.3)])
    weights /= weights.sum()
    pairs = np.array([scorer.score([one], [other])[0] for one in (first, second) for other in (first, second)])
    expected = pairs.reshape(2, 2) @ weights
    candidates = scorer.weigh_together([first, second])
    assert expected_cider(scorer, candidates, [-1.0, -1.1], sharpness=3) == pytest.approx(expected)
