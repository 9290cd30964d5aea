import pytest

from imgcap.data.loading import load_rows
from imgcap.evaluation.engines import compare_engines
from imgcap.inference.engines.manifest import FOLDER
from imgcap.settings import ROOT


def test_the_exported_files_are_compared_with_the_model(exported_captioner, caption_folder):
    result = compare_engines(exported_captioner, load_rows(str(caption_folder), "validation"))
    assert list(result) == ["n", "torch", "float32", "int8", "same"]
    assert result["float32"] == pytest.approx(result["torch"])
    assert 0 <= result["same"] <= 1


@pytest.mark.external
def test_int8_costs_no_quality(test_data):
    folder = ROOT / "models" / "attention"
    if not (folder / FOLDER).is_dir():
        pytest.skip("models/attention has no exported files")
    result = compare_engines(folder, load_rows(str(test_data / "flickr8k"), "validation", 400))
    assert result["int8"] > result["torch"] - 0.02  # four standard errors of the paired difference; see docs/speed.md
