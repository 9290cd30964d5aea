import json
from html import unescape

import numpy as np
import pytest
import torch
from engines import mean_log_probabilities

from imgcap.data.loading import load_rows
from imgcap.errors import InputError
from imgcap.evaluation import metrics
from imgcap.evaluation.mistakes import count_mistakes
from imgcap.evaluation.run import caption_split, encode, evaluate, summarize, write_captions
from imgcap.evaluation.variety import compare_variety
from imgcap.inference.checkpoint import load_captioner
from imgcap.inference.engines.torch_engine import TorchEngine
from imgcap.inference.files import describe
from imgcap.inference.writer import Writer

NAMES = ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr"]


@pytest.mark.usefixtures("without_meteor")
def test_the_scores_are_those_of_the_captions_as_shown(tiny_captioner, caption_folder):
    result = evaluate(str(tiny_captioner), str(caption_folder), "test")
    assert list(result) == ["model", "split", "n", *NAMES, "intervals", "variety"]
    assert (result["model"], result["split"], result["n"]) == (str(tiny_captioner), "test", 6)
    rows = load_rows(str(caption_folder), "test")
    captions = caption_split(str(tiny_captioner), rows).captions
    assert {name: result[name] for name in NAMES} == {
        name: value for name, value in metrics.score(captions, rows.captions).items() if name in NAMES
    }
    assert result["variety"] == compare_variety(captions, rows.captions)


@pytest.mark.usefixtures("without_meteor")
def test_a_report_shows_the_captions_and_changes_no_score(tiny_captioner, caption_folder, tmp_path):
    place = tmp_path / "report.html"
    captioned = caption_split(str(tiny_captioner), load_rows(str(caption_folder), "test", 3))
    assert (len(captioned.rows), len(captioned.captions)) == (3, 3)
    result = evaluate(str(tiny_captioner), str(caption_folder), "test", 3, place)
    assert result == summarize(str(tiny_captioner), "test", captioned)
    page = unescape(place.read_text(encoding="utf-8"))
    assert all(f'<p class="caption">{caption}</p>' in page for caption in captioned.captions)


@pytest.mark.usefixtures("without_meteor")
def test_scores_and_mistakes_are_recorded_beside_a_captioner(tiny_captioner, caption_folder, tmp_path):
    result = evaluate(str(tiny_captioner), str(caption_folder), "validation", record=tmp_path)
    assert json.loads((tmp_path / "scores.json").read_text()) == result
    captions = caption_split(str(tiny_captioner), rows := load_rows(str(caption_folder), "validation")).captions
    assert json.loads((tmp_path / "mistakes.json").read_text()) == count_mistakes(captions, rows.captions)


def test_a_place_for_no_report_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(InputError, match="There is no folder"):
        evaluate("no/where", "no/data", "test", report=tmp_path / "none" / "report.html")


@pytest.mark.usefixtures("without_meteor")
def test_a_limit_takes_the_first(tiny_captioner, caption_folder):
    assert evaluate(str(tiny_captioner), str(caption_folder), "test", limit=2)["n"] == 2


def test_batches_do_not_change_captions(tiny_captioner, caption_folder):
    model, processor = load_captioner(str(tiny_captioner))
    rows = load_rows(str(caption_folder), "validation")
    writer = Writer(TorchEngine(model), describe(tiny_captioner, ""))
    one, many = (write_captions(writer, encode(model, processor, rows, size)) for size in (1, 4))
    assert [caption.text for caption in one] == [caption.text for caption in many]
    assert len(one) == len(rows)
    assert not torch.is_inference(next(model.parameters()))


def test_what_cannot_be_read_is_said(tiny_captioner, caption_folder):
    with pytest.raises(InputError, match="has no split 'dev'"):
        evaluate(str(tiny_captioner), str(caption_folder), "dev")
    with pytest.raises(InputError, match="No captioner can be loaded"):
        evaluate("no/where", str(caption_folder), "test")


def test_each_caption_has_its_own_log_probability(tiny_captioner, caption_folder):
    rows = load_rows(str(caption_folder), "test")
    captioned = caption_split(str(tiny_captioner), rows)
    model, processor = load_captioner(str(tiny_captioner))
    engine, description = TorchEngine(model), describe(tiny_captioner, "")
    alone = [
        mean_log_probabilities(engine, description, encoding.grid, [[caption]])[0][0]
        for encoding, caption in zip(encode(model, processor, rows, 1), captioned.captions, strict=True)
    ]
    assert captioned.log_probabilities == pytest.approx(np.array(alone), abs=1e-4)
