import numpy as np
import pytest

from imgcap.errors import InputError
from imgcap.inference.cider import CiderD
from imgcap.inference.expected_ngrams import FILE, NGramPredictor, load_predictor, save_predictor

GRAMS = [(4,), (5,), (9,), (4, 5), (5, 9), (4, 5, 9)]


@pytest.fixture
def predictor():
    """A predictor with random numbers that half precision holds exactly."""
    rng = np.random.default_rng(0)

    def halves(*shape):
        return rng.normal(size=shape).astype(np.float16).astype(np.float32)

    landmarks = np.eye(5, dtype=np.float32)
    return NGramPredictor(
        mean=rng.normal(size=8).astype(np.float32), projection=halves(5, 8), landmarks=landmarks, sharpness=0.7,
        dual=halves(3, 5), directions=rng.integers(-127, 128, (3, len(GRAMS))).astype(np.int8),
        scales=rng.uniform(0.001, 0.01, (3, 1)).astype(np.float32), base=rng.normal(size=len(GRAMS)).astype(np.float32),
        rarities=rng.uniform(0, 5, len(GRAMS)).astype(np.float32), grams=GRAMS,
    )  # fmt: skip


@pytest.fixture
def features():
    """Pooled features of four images."""
    return np.random.default_rng(1).normal(size=(4, 8)).astype(np.float32)


def weights(predictor, features):
    """Expected weights of all n-grams by the formula itself, in double precision."""
    projected = (features - predictor.mean).astype(np.float64) @ predictor.projection.T
    projected /= np.linalg.norm(projected, axis=1, keepdims=True)
    squares = ((projected[:, None] - predictor.landmarks) ** 2).sum(-1)
    kernel = np.exp(-predictor.sharpness * squares)
    return kernel @ predictor.dual.T @ (predictor.directions * predictor.scales)


def test_the_bonus_is_the_weight_beyond_the_mean_by_the_rarity(predictor, features):
    expected = weights(predictor, features)
    bonus = predictor.word_bonus(predictor.encode(features), 12)
    for place, (word, *more) in enumerate(GRAMS):
        if not more:
            assert bonus[:, word] == pytest.approx(4 * predictor.rarities[place] * expected[:, place], rel=1e-3)
    others = [word for word in range(12) if (word,) not in GRAMS]
    assert (bonus[:, others] == 0).all()


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
    for row, one in enumerate(features):
        assert predictor.encode(one[None])[0] == pytest.approx(together[row], rel=1e-5)


def test_what_is_read_predicts_as_what_was_written(tmp_path, predictor, features):
    save_predictor(tmp_path, predictor)
    again = load_predictor(tmp_path)
    assert again.grams == GRAMS
    assert (again.encode(features) == predictor.encode(features)).all()
    assert (again.word_bonus(again.encode(features), 12) == predictor.word_bonus(again.encode(features), 12)).all()


def test_a_captioner_without_the_file_has_no_predictor(tmp_path):
    assert load_predictor(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(InputError, match="is damaged; fit it again"):
        load_predictor(tmp_path)
