import numpy as np
import pytest

from imgcap.errors import InputError
from imgcap.inference.engines.engine import Features
from imgcap.inference.judging.cider import CiderD
from imgcap.inference.judging.expected_ngrams import (
    FILE,
    NGramPredictor,
    Projection,
    RoundedRows,
    load_predictor,
    save_predictor,
)

GRAMS = [(4,), (5,), (9,), (4, 5), (5, 9), (4, 5, 9)]


@pytest.fixture
def predictor():
    """A predictor with random numbers."""
    rng = np.random.default_rng(0)

    def rows(*shape):
        return RoundedRows.round(rng.normal(size=shape))

    return NGramPredictor(
        Projection(rng.normal(size=8).astype(np.float32), rng.uniform(1, 2, 8).astype(np.float32), rows(5, 8).values),
        landmarks=np.eye(5, dtype=np.float32), sharpness=0.7, dual=rows(3, 5).values,
        directions=rows(3, len(GRAMS)),
        base=rng.normal(size=len(GRAMS)).astype(np.float32), rarities=rng.uniform(0, 5, len(GRAMS)).astype(np.float32),
        grams=GRAMS,
    )  # fmt: skip


@pytest.fixture
def features():
    """Pooled feature maps of four images."""
    values = np.random.default_rng(1).normal(size=(4, 8)).astype(np.float32)
    return Features(values[:, :4], values[:, 4:6], values[:, 6:])


def weights(predictor, features):
    """Expected weights of all n-grams by the formula itself, in double precision."""
    projection = predictor.projection
    joined = np.concatenate([features.grid, features.early, features.peaks], 1)
    projected = ((joined - projection.mean) / projection.spreads).astype(np.float64) @ projection.components.T
    projected /= np.linalg.norm(projected, axis=1, keepdims=True)
    squares = ((projected[:, None] - predictor.landmarks) ** 2).sum(-1)
    kernel = np.exp(-predictor.sharpness * squares)
    return kernel @ predictor.dual.T @ predictor.directions.values


def test_the_bonus_is_the_weight_beyond_the_mean_by_the_rarity(predictor, features):
    expected = 6 * predictor.rarities * weights(predictor, features)
    bonus = predictor.bonus(predictor.encode(features), 12)
    for place, (word, *more) in enumerate(GRAMS):
        if not more:
            assert bonus.words[:, word] == pytest.approx(expected[:, place], rel=1e-3, abs=1e-4)
    others = [word for word in range(12) if (word,) not in GRAMS]
    assert (bonus.words[:, others] == 0).all()
    pairs = {gram: expected[:, place] for place, gram in enumerate(GRAMS) if len(gram) == 2}
    for first in range(12):
        after = np.zeros((4, 1, 12), np.float32)
        bonus.add(after, np.full((4, 1), first), np.arange(4))
        after = after[:, 0] - bonus.words
        for second in range(12):
            assert after[:, second] == pytest.approx(pairs.get((first, second), np.zeros(4)), rel=1e-3, abs=1e-4)


def test_rows_are_rounded_to_a_254th_of_their_range():
    values = np.random.default_rng(0).normal(size=(5, 40)) * [[1], [1e-3], [100], [0], [1]]
    rounded = RoundedRows.round(values)
    assert rounded.whole.dtype == np.int8
    assert (np.abs(rounded.values - values) <= np.abs(values).max(1, keepdims=True) / 254 * 1.0001).all()


def test_expected_cider_is_the_product_with_the_candidates_vectors(predictor, features):
    scorer = CiderD([[[4, 5, 6]], [[5, 9]], [[7, 8]]])
    candidates = [[4, 5, 9], [5, 9, 5, 9], [7, 7], []]
    expected = weights(predictor, features) + predictor.base
    for row, code in zip(expected, predictor.encode(features), strict=True):
        found = predictor.expected_cider(code, scorer.weigh_together(candidates))
        for score, candidate in zip(found, candidates, strict=True):
            tfidf, norms, _ = scorer.weigh(candidate)
            terms = [tfidf.get(gram, 0) / (norms[len(gram) - 1] or 1) * row[i] for i, gram in enumerate(GRAMS)]
            assert score == pytest.approx(10 / 4 * sum(terms), rel=1e-3, abs=1e-5)


def test_an_image_does_not_depend_on_its_neighbours(predictor, features):
    together = predictor.encode(features)
    for row in range(len(features)):
        assert predictor.encode(features[[row]])[0] == pytest.approx(together[row], rel=1e-4)


def test_what_is_read_predicts_as_what_was_written(tmp_path, predictor, features):
    save_predictor(tmp_path, predictor)
    again = load_predictor(tmp_path)
    assert again.grams == GRAMS
    assert (again.encode(features) == predictor.encode(features)).all()
    found, expected = (one.bonus(again.encode(features), 12) for one in (again, predictor))
    assert (found.words == expected.words).all()
    assert (found.pairs == expected.pairs).all()


def test_a_captioner_without_the_file_has_no_predictor(tmp_path):
    assert load_predictor(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(InputError, match="is damaged or from another version; fit it again"):
        load_predictor(tmp_path)
