import random
from collections.abc import Iterator
from unittest import mock

import coco
import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from imgcap.errors import InputError
from imgcap.evaluation import meteor, metrics
from imgcap.evaluation.ptb import tokenize

WITHOUT_METEOR = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr")


def some_captions() -> tuple[list[str], list[list[str]]]:
    """Captions of sixty images with one to five references, including the odd cases of real captions."""
    draw = random.Random(11)
    who = ("A man", "Two dogs", "The boy's friend", "A woman in a t-shirt", "Mr. Lee", "Some kids (three)")
    does = ("isn't running", "plays with a ball", "jumps, high", "sits near 2 cats", "looks at St. Mary's", "is eating")
    where = ("on the grass.", "in the snow!", "at the beach .", '"by" a half-pipe', "at 3 p.m.", "under a café's roof")
    captions = [[" ".join(map(draw.choice, (who, does, where))) for _ in range(6)] for _ in range(60)]
    predictions = [six[0] for six in captions]
    references = [six[1 : draw.randint(2, 6)] for six in captions]
    predictions[3], predictions[4], predictions[5] = "", "...", references[5][0]
    predictions[6] += " ||| and\nmore"
    references[7][0] += "\nA second line"
    references[8].append("")
    predictions[9], references[9] = "nothing alike", [""]
    predictions[10] = references[10][0] = "un café à côté"
    return predictions, references


PREDICTIONS, REFERENCES = some_captions()
WHOLE, NOTHING = (5, 10), (3, 9)
"""Images whose caption is one of its references, and images whose caption has no word of them."""


def coco_bleu(candidates: list[str], references: list[list[str]]) -> list[float]:
    keyed = {i: [candidate] for i, candidate in enumerate(candidates)}
    return list(Bleu(4).compute_score(dict(enumerate(references)), keyed, verbose=0)[0])


@pytest.fixture(scope="module", autouse=True)
def one_run_of_meteor() -> Iterator[None]:
    """METEOR's scores are kept for captions that come again, since its Java program takes seconds to start."""
    ask, answers = meteor.statistics, {}

    def remember(candidates: list[str], references: list[list[str]]) -> np.ndarray:
        question = repr((candidates, references))
        if question not in answers:
            answers[question] = ask(candidates, references)
        return answers[question]

    with mock.patch.object(meteor, "statistics", remember):
        yield


@pytest.fixture(scope="module")
def coco_scores() -> tuple[dict[str, float], list[float]]:
    """What pycocoevalcap gives for the captions, with its own tokenizer; and its METEOR of each image alone."""
    coco.require_java()
    everything = coco.tokenize_with_jar([*PREDICTIONS, *(c for captions in REFERENCES for c in captions)])
    tokens = iter(everything)
    candidates = {i: [next(tokens)] for i in range(len(PREDICTIONS))}
    references = {i: [next(tokens) for _ in captions] for i, captions in enumerate(REFERENCES)}
    bleu = coco_bleu([c for (c,) in candidates.values()], list(references.values()))
    others = {
        name: scorer.compute_score(references, candidates)
        for name, scorer in (("METEOR", coco.meteor()), ("ROUGE-L", Rouge()), ("CIDEr", Cider()))
    }
    scores = {f"BLEU-{n + 1}": bleu[n] for n in range(4)} | {name: mean for name, (mean, _) in others.items()}
    return scores, others["METEOR"][1]


def test_score_equals_pycocoevalcap(coco_scores: tuple[dict[str, float], list[float]]) -> None:
    scores = metrics.score(PREDICTIONS, REFERENCES, resamples=200)
    intervals = scores.pop("intervals")
    assert scores == pytest.approx(coco_scores[0], abs=1e-9)
    assert list(scores) == list(intervals) == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr"]
    for name, (low, high) in intervals.items():
        assert low < scores[name] < high


def test_meteor_of_each_image_equals_pycocoevalcaps(coco_scores: tuple[dict[str, float], list[float]]) -> None:
    statistics = meteor.statistics(
        [tokenize(caption) for caption in PREDICTIONS], [[tokenize(one) for one in captions] for captions in REFERENCES]
    )
    assert statistics.shape == (len(PREDICTIONS), 23)
    scores = meteor.from_sums(meteor.countable(statistics))
    assert scores == pytest.approx(coco_scores[1], abs=1e-12)
    assert scores[[*WHOLE]] == pytest.approx(1)
    assert scores[[*NOTHING]].tolist() == [0, 0]


def test_combined_metrics_of_the_evaluate_library(
    coco_scores: tuple[dict[str, float], list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import evaluate  # after imgcap.evaluation.metrics, which mends torchvision for it

    monkeypatch.setenv("PATH", "")  # METEOR is null without Java
    combined = evaluate.combine([metrics.Bleu(), metrics.RougeL(), metrics.Cider(), metrics.Meteor()])
    scores = combined.compute(predictions=PREDICTIONS, references=REFERENCES)
    assert scores.pop("METEOR") is None
    assert scores == pytest.approx({name: coco_scores[0][name] for name in WITHOUT_METEOR}, abs=1e-9)


def test_the_evaluate_metrics_take_batches() -> None:
    metric = metrics.Bleu()
    for prediction, references in zip(PREDICTIONS, REFERENCES, strict=True):
        metric.add(prediction=prediction, reference=references)
    whole = metrics.score(PREDICTIONS, REFERENCES, resamples=0, with_meteor=False)
    assert metric.compute() == {f"BLEU-{n}": whole[f"BLEU-{n}"] for n in range(1, 5)}


def test_meteor_as_a_metric_of_the_evaluate_library(coco_scores: tuple[dict[str, float], list[float]]) -> None:
    scores = metrics.Meteor().compute(predictions=PREDICTIONS, references=REFERENCES)
    assert scores == {"METEOR": pytest.approx(coco_scores[0]["METEOR"], abs=1e-9)}


def test_an_interval_comes_from_the_resamples_own_scores() -> None:
    resamples = np.random.default_rng(7).integers(len(PREDICTIONS), size=(2, len(PREDICTIONS)))
    values = []
    for drawn in resamples:
        candidates = [tokenize(PREDICTIONS[i]) for i in drawn]
        references = [[tokenize(caption) for caption in REFERENCES[i]] for i in drawn]
        keyed = {i: [candidate] for i, candidate in enumerate(candidates)}
        rouge = Rouge().compute_score(dict(enumerate(references)), keyed)[0]
        values.append([*coco_bleu(candidates, references), rouge])
    intervals = metrics.score(PREDICTIONS, REFERENCES, resamples=2, seed=7, with_meteor=False)["intervals"]
    assert intervals["METEOR"] is None
    found = [intervals[name] for name in ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L")]
    assert np.allclose(found, np.percentile(values, [2.5, 97.5], axis=0).T)


def test_a_single_image_has_no_interval() -> None:
    scores = metrics.score(["a dog runs"], [["a dog runs", "a dog"]], with_meteor=False)
    assert scores["BLEU-1"] == pytest.approx(1)
    assert set(scores["intervals"].values()) == {None}


def test_intervals_follow_their_seed_and_may_be_left_out() -> None:
    first, again, other = (
        metrics.score(PREDICTIONS, REFERENCES, resamples=50, seed=seed, with_meteor=False) for seed in (1, 1, 2)
    )
    assert first == again
    assert first["intervals"] != other["intervals"]
    none = metrics.score(PREDICTIONS, REFERENCES, resamples=0, with_meteor=False)
    assert set(none["intervals"].values()) == {None}


def test_meteor_is_null_without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    scores = metrics.score(PREDICTIONS, REFERENCES, resamples=10)
    assert scores["METEOR"] is None
    assert scores["intervals"]["METEOR"] is None
    assert scores["BLEU-4"] > 0


def test_nothing_in_common_scores_nothing() -> None:
    scores = metrics.score(["x y z", ""], [["a b c"], ["d"]], resamples=5, with_meteor=False)
    assert [scores[name] for name in WITHOUT_METEOR] == pytest.approx([0] * 6, abs=1e-6)


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([], [], "no captions to score"),
        (["a"], [["a"], ["b"]], "1 predictions but 2 lists"),
        (["a", "b"], [["a"], []], "image 1"),
        (["a"], ["a"], "image 0"),
    ],
)
def test_what_cannot_be_scored(predictions: list[str], references: list[list[str]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        metrics.score(predictions, references)


def test_ciders_of_the_pictures_have_the_splits_cider_as_their_mean():
    each = metrics.cider_of_each(PREDICTIONS, REFERENCES)
    assert each.shape == (60,)
    assert each.mean() == pytest.approx(metrics.score(PREDICTIONS, REFERENCES, resamples=0, with_meteor=False)["CIDEr"])
    assert each[5] > each[3] == 0  # a reference itself, and nothing at all
