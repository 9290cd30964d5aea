import numpy as np
import pytest

from imgcap.evaluation import ngrams
from imgcap.evaluation.ngrams import MIN_IMAGES, fit_predictor
from imgcap.inference.engines.engine import Features
from imgcap.inference.judging.cider import CiderD

UNKNOWN = 3
SCENES = {"dog": [4, 5, 6, 7], "child": [4, 8, 9], "boat": [10, 11, 6, 12], "street": [4, 13, 14, 15, 16]}


def as_features(values):
    """Rows of 32 numbers as features, of which each kind has a size of its own."""
    values = np.asarray(values, np.float32)
    return Features(values[:, :12], 0.1 * values[:, 12:22], 5 * values[:, 22:])


def scenes(rng, count):
    """Features and captions of images of four scenes, which are clusters; some captions have a word of no scene."""
    centres = np.random.default_rng(7).normal(size=(len(SCENES), 32))
    kinds = rng.integers(len(SCENES), size=count)
    features = as_features(centres[kinds] + 0.4 * rng.normal(size=(count, 32)))
    rows = [*SCENES.values()]
    captions = [[rows[kind], [*rows[kind], int(rng.integers(20, 60))], [UNKNOWN, *rows[kind]]] for kind in kinds]
    return features, captions


@pytest.fixture(scope="module")
def fitted():
    features, captions = scenes(np.random.default_rng(0), 200)
    scorer = CiderD(captions)
    return fit_predictor(features, captions, scorer, UNKNOWN), scorer


def test_it_expects_the_captions_of_the_right_scene(fitted):
    predictor, scorer = fitted
    features, captions = scenes(np.random.default_rng(1), 100)
    candidates = [*SCENES.values()]
    for code, own in zip(predictor.encode(features), captions, strict=True):
        expected = predictor.expected_cider(code, scorer.weigh_together(candidates))
        assert candidates[int(np.argmax(expected))] == own[0]


def test_the_expectation_is_near_the_cider_of_an_average_reference(fitted):
    predictor, scorer = fitted
    features, captions = scenes(np.random.default_rng(2), 100)
    pairs = [
        (predictor.expected_cider(code, scorer.weigh_together(own[:1]))[0], scorer.score(own[:1], own)[0])
        for code, own in zip(predictor.encode(features), captions, strict=True)
    ]
    expected, true = np.mean(pairs, axis=0)
    assert expected == pytest.approx(true, rel=0.15)


def test_words_of_the_scene_have_a_bonus_and_others_a_malus(fitted):
    predictor, _ = fitted
    features, captions = scenes(np.random.default_rng(3), 50)
    bonus = predictor.bonus(predictor.encode(features), 64).words
    assert bonus.shape == (50, 64)
    everywhere = {word for row in SCENES.values() for word in row}
    for row, own in zip(bonus, captions, strict=True):
        told = [word for word in own[0] if sum(word in scene for scene in SCENES.values()) == 1]
        assert (row[told] > 0).all()
        assert (row[sorted(everywhere - set(own[0]))] < 0).all()
    assert (bonus[:, [0, 1, 2, UNKNOWN]] == 0).all()  # neither special tokens nor the unknown word


def test_an_unfamiliar_image_has_no_bonus(fitted):
    predictor, _ = fitted
    features, _ = scenes(np.random.default_rng(4), 50)
    far = as_features(50 * np.random.default_rng(5).normal(size=(50, 32)))
    near, none = (np.abs(predictor.bonus(predictor.encode(one), 64).words).max(1).mean() for one in (features, far))
    assert none < near / 2


def test_rare_ngrams_are_left_out():
    features, _ = scenes(np.random.default_rng(6), MIN_IMAGES + 1)
    captions = [[[4, 5, 100 + row]] for row in range(MIN_IMAGES)]
    captions.append([[6]])  # a word of every image weighs nothing
    predictor = fit_predictor(features, captions, CiderD(captions), UNKNOWN)
    assert predictor.grams == [(4,), (5,), (4, 5)]


@pytest.mark.parametrize("count", [0, 1, MIN_IMAGES - 1])
def test_too_few_images_give_no_prediction(count):
    features, captions = scenes(np.random.default_rng(0), count)
    assert fit_predictor(features, captions, CiderD([[[4]]]), UNKNOWN) is None


def test_images_that_are_all_the_same_give_finite_numbers():
    values = np.ones((20, 32))
    values[0, 0] += 1e-6
    features = as_features(values)
    captions = [[[4, 5]], [[4, 6]]] * 10
    predictor = fit_predictor(features, captions, CiderD(captions), UNKNOWN)
    bonus = predictor.bonus(predictor.encode(features), 10)
    assert np.isfinite(bonus.words).all()
    assert np.isfinite(bonus.pairs).all()


def test_the_directions_are_those_of_images_left_out(monkeypatch):
    """Captions vary most by sentences that no feature predicts; the few directions serve what features predict."""
    features, captions = scenes(np.random.default_rng(0), 200)
    unpredictable = [[*range(start, start + 5)] for start in (30, 40, 50, 60)]
    kinds = np.random.default_rng(1).integers(len(unpredictable), size=len(captions))
    mixed = [[own[0], unpredictable[kind], unpredictable[kind]] for own, kind in zip(captions, kinds, strict=True)]
    scorer = CiderD(mixed)
    every = fit_predictor(features, mixed, scorer, UNKNOWN)
    monkeypatch.setattr(ngrams, "DIRECTIONS", len(SCENES))
    few = fit_predictor(features, mixed, scorer, UNKNOWN)
    fresh, _ = scenes(np.random.default_rng(8), 100)
    of_scenes = sorted({word for row in SCENES.values() for word in row})
    few, every = (one.bonus(one.encode(fresh), 70).words[:, of_scenes] for one in (few, every))
    assert np.linalg.norm(few - every) < 0.6 * np.linalg.norm(every)  # .86 with the directions of the captions
