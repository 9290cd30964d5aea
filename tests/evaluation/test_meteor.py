from pathlib import Path

import coco
import numpy as np
import pytest

from imgcap.evaluation import meteor

CANDIDATES = [
    "a dog runs on the grass",
    "two children are playing soccer",
    "the same words",
    "",
    "a ||| b\nc",
    "nothing alike",
    "un café à côté",
]
REFERENCES = [
    ["a brown dog is running through green grass", "the dog runs"],
    ["kids play football on a field", "two boys kick a ball", "children playing"],
    ["the same words", "other words"],
    ["an empty candidate"],
    ["a b c ||| ", "line\nbreak"],
    [""],
    ["un café à côté"],
]


@pytest.fixture(scope="module")
def statistics() -> np.ndarray:
    coco.require_java()
    return meteor.statistics(CANDIDATES, REFERENCES)


@pytest.fixture(scope="module")
def archive() -> tuple[float, list[float]]:
    """The archive's EVAL output for all images together and for each alone, through pycocoevalcap."""
    coco.require_java()
    plain = [[caption.replace("|||", "").replace("\n", " ") for caption in captions] for captions in REFERENCES]
    answer: tuple[float, list[float]] = coco.meteor().compute_score(
        dict(enumerate(plain)), {i: [c.replace("\n", " ")] for i, c in enumerate(CANDIDATES)}
    )
    return answer


def test_the_sum_of_statistics_gives_the_archives_score(
    statistics: np.ndarray, archive: tuple[float, list[float]]
) -> None:
    summable = meteor.countable(statistics)
    assert statistics.shape == (len(CANDIDATES), 23)
    assert meteor.from_sums(summable.sum(axis=0)) == pytest.approx(archive[0], abs=1e-12)
    assert meteor.from_sums(summable) == pytest.approx(archive[1], abs=1e-12)


def test_a_whole_match_scores_one_and_no_match_zero(statistics: np.ndarray) -> None:
    scores = meteor.from_sums(meteor.countable(statistics))
    assert scores[[2, 6]] == pytest.approx(1)
    assert scores[[3, 5]].tolist() == [0, 0]


def test_a_program_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    coco.require_java()
    monkeypatch.setattr(meteor, "_JAR", tmp_path / "absent.jar")
    with pytest.raises(RuntimeError, match=r"failed \(Error: Unable to access jarfile"):
        meteor.statistics(["a"], [["b"]])


def test_a_program_that_takes_too_long() -> None:
    coco.require_java()
    with pytest.raises(RuntimeError, match=r"within 0\.1 seconds"):
        meteor.statistics(["a"], [["b"]], timeout=0.1)


def test_without_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not meteor.available()
    with pytest.raises(RuntimeError, match="install a Java runtime"):
        meteor.statistics(["a"], [["b"]])
