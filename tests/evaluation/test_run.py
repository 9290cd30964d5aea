from html import unescape

import pytest
import torch

from imgcap.data import loading as data
from imgcap.errors import InputError
from imgcap.evaluation import metrics
from imgcap.evaluation.run import caption_split, evaluate, picture_batches, summarize, write_captions
from imgcap.inference.checkpoint import load_captioner

NAMES = ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr"]


@pytest.mark.usefixtures("without_meteor")
def test_the_scores_are_those_of_the_captions_as_shown(tiny_captioner, caption_folder):
    result = evaluate(str(tiny_captioner), str(caption_folder), "test")
    assert list(result) == ["model", "split", "n", *NAMES, "intervals"]
    assert (result["model"], result["split"], result["n"]) == (str(tiny_captioner), "test", 6)
    model, processor = load_captioner(str(tiny_captioner))
    split = data.load_split(str(caption_folder), "test")
    captions = [
        processor.sentences(model.generate(processor.image_processor(image, return_tensors="pt")["pixel_values"]))[0]
        for image in split["image"]
    ]
    assert {name: result[name] for name in NAMES} == {
        name: value for name, value in metrics.score(captions, data.references(split)).items() if name in NAMES
    }


@pytest.mark.usefixtures("without_meteor")
def test_a_report_shows_the_captions_and_changes_no_score(tiny_captioner, caption_folder, tmp_path):
    place = tmp_path / "report.html"
    split, captions = caption_split(str(tiny_captioner), str(caption_folder), "test", 3)
    assert (len(split), len(captions)) == (3, 3)
    result = evaluate(str(tiny_captioner), str(caption_folder), "test", 3, place)
    assert result == summarize(str(tiny_captioner), "test", split, captions)
    page = unescape(place.read_text(encoding="utf-8"))
    assert all(f'<p class="caption">{caption}</p>' in page for caption in captions)


def test_a_place_for_no_report_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(InputError, match="There is no folder"):
        evaluate("no/where", "no/data", "test", report=tmp_path / "none" / "report.html")


@pytest.mark.usefixtures("without_meteor")
def test_a_limit_takes_the_first(tiny_captioner, caption_folder):
    assert evaluate(str(tiny_captioner), str(caption_folder), "test", limit=2)["n"] == 2


def test_batches_do_not_change_captions_and_the_models_mode_is_left(tiny_captioner, caption_folder):
    model, processor = load_captioner(str(tiny_captioner))
    split = data.load_split(str(caption_folder), "validation")
    model.train()
    one, many = (write_captions(model, processor, picture_batches(split, processor, size)) for size in (1, 4))
    assert one == many
    assert model.training
    assert not torch.is_inference(next(model.parameters()))


def test_what_cannot_be_read_is_said(tiny_captioner, caption_folder):
    with pytest.raises(InputError, match="has no split 'dev'"):
        evaluate(str(tiny_captioner), str(caption_folder), "dev")
    with pytest.raises(InputError, match="No captioner can be loaded"):
        evaluate("no/where", str(caption_folder), "test")
