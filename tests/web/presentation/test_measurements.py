import json

import pytest

from imgcap.settings import ROOT
from imgcap.web.presentation.measurements import read_measurements


@pytest.mark.parametrize(("name", "attends"), [("attention", True), ("merge", False)])
def test_the_shipped_models_have_been_measured(name, attends):
    folder = ROOT / "models" / name
    measured = read_measurements(str(folder))
    assert measured.scores == json.loads((folder / "scores.json").read_text())
    assert measured.attends is attends
    assert measured.words == json.loads((folder / "config.json").read_text())["vocab_size"]
    assert list(measured.mistakes) == ["sex", "colour", "count"]
    counted = json.loads((folder / "mistakes.json").read_text())["colour of the same thing"]  # not of another thing
    assert measured.mistakes["colour"].people == counted["people_left_out"]["share"]
    assert measured.predicts_ngrams is (folder / "expected_ngrams.safetensors").is_file()
    assert measured.knows_unfamiliar is (folder / "familiar.safetensors").is_file()
    assert all(0 < mistake.people < mistake.model < 1 for mistake in measured.mistakes.values())


def test_of_a_model_without_such_files_nothing_is_said(tmp_path):
    assert read_measurements(str(tmp_path)).scores == {}
    nowhere = read_measurements("nobody/no-such-model")  # the Hub is out of reach here
    assert (nowhere.scores, nowhere.mistakes, nowhere.attends, nowhere.words) == ({}, {}, None, None)
