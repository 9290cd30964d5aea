"""Captions are found again as long as nothing that they follow from has changed."""

import json
from pathlib import Path

import pytest

from imgcap import inference
from imgcap.settings import Settings
from imgcap.web.dataset.written import WrittenCaptions

CAPTIONS = {0: "A dog runs.", 7: None}
REFERENCES = [("a dog",), ("a cat",)]


@pytest.fixture
def captioner(tmp_path):
    folder = tmp_path / "captioner"
    (folder / "onnx").mkdir(parents=True)
    for name in ("generation_config.json", "expected_ngrams.safetensors", "onnx/decoder_model.onnx", "README.md"):
        (folder / name).write_text("before")
    return folder


def written(captioner, references=REFERENCES, **settings):
    return WrittenCaptions(captioner.parent, Settings(model=str(captioner), **settings), references)


def test_they_are_found_by_whoever_opens_the_same_captioner_and_split(captioner):
    assert written(captioner).read() == {}
    written(captioner).save(CAPTIONS)
    assert written(captioner, port=9).read() == CAPTIONS
    (captioner / "README.md").write_text("after")
    assert written(captioner).read() == CAPTIONS
    [file] = captioner.parent.glob("*.json")
    file.write_text(json.dumps(CAPTIONS)[:-1])
    assert written(captioner).read() == {}


@pytest.mark.parametrize("change", [{"name_sex": "never"}, {"unfamiliar": "refuse"}, {"engine": "torch"}])
def test_other_settings_of_captions_have_other_captions(captioner, change):
    written(captioner).save(CAPTIONS)
    assert written(captioner, **change).read() == {}


@pytest.mark.parametrize("name", ["generation_config.json", "expected_ngrams.safetensors", "onnx/decoder_model.onnx"])
def test_another_way_of_decoding_or_other_weights_have_other_captions(captioner, name):
    written(captioner).save(CAPTIONS)
    (captioner / name).write_text("changed")
    assert written(captioner).read() == {}


def test_other_references_and_other_code_have_other_captions(captioner, monkeypatch, tmp_path):
    written(captioner).save(CAPTIONS)
    assert written(captioner, REFERENCES[::-1]).read() == {}
    code = tmp_path / "decoding" / "search.py"
    code.parent.mkdir()
    code.write_text("beams = 7")
    monkeypatch.setattr(inference, "__path__", [str(tmp_path)])
    assert written(captioner).read() == {}
    written(captioner).save(CAPTIONS)
    assert written(captioner).read() == CAPTIONS
    code.write_text("beams = 8")
    assert written(captioner).read() == {}


def test_a_captioner_that_cannot_be_found_and_a_folder_that_cannot_be_written_raise_nothing(captioner, caplog):
    lost = WrittenCaptions(Path("/proc/nowhere"), Settings(model="no/such-model"), REFERENCES)
    lost.save(CAPTIONS)
    assert lost.read() == {}
    assert "could not be kept" in caplog.text
