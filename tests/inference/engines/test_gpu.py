"""On a machine with a CUDA device: it is used, and gives the captions of the CPU. Elsewhere these tests are skipped."""

import json

import numpy as np
import pytest
import torch
from engines import as_grid, make_model, make_pixels
from recipes import small

from imgcap.inference.decoding.drawing import DrawingOptions, draw
from imgcap.inference.decoding.search import SearchOptions, beam_search
from imgcap.inference.engines.choice import has_gpu, open_engine
from imgcap.inference.engines.torch_engine import TorchEngine
from imgcap.inference.files import describe
from imgcap.training.run import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

KINDS = [{"decoder": "attention"}, {"decoder": "merge"}, {"decoder": "attention", "encoder": "vgg16"}]


def relative_error(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind.values()))
@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float32, 5e-3), (torch.bfloat16, 5e-2)])
def test_it_encodes_as_the_cpu_does(kind, precision, tolerance):
    pixels = make_pixels(5).numpy()
    expected = TorchEngine(make_model(**kind)).encode(pixels)
    found = TorchEngine(make_model(**kind), "cuda", precision).encode(pixels)
    assert found.grid.device.type == "cuda"
    assert relative_error(found.grid.cpu().numpy(), expected.grid.numpy()) < tolerance
    for one, other in zip(found.features.maps, expected.features.maps, strict=True):
        assert relative_error(one, other) < tolerance


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind.values()))
def test_it_finds_and_draws_the_captions_of_the_cpu(kind):
    model = make_model(**kind)
    grid = 3 * np.random.default_rng(0).standard_normal((16, 4, model.encoder.channels), np.float32)
    search = SearchOptions(5, 10, 1, 2, no_repeat_ngram_size=3, suppress_tokens=(0, 1, 3))
    drawing = DrawingOptions((0.7, 1.0, 1.3), max_words=10, start=1, end=2, suppress_tokens=(0, 1, 3))
    written = []
    for place in ("cpu", "cuda"):
        engine = TorchEngine(make_model(**kind), place)
        here = as_grid(engine, grid).to(place)
        captions = beam_search(engine, here, 16, search) + draw(engine, here, 16, drawing)
        written.append([[one.tokens for one in of_image] for of_image in captions])
    assert written[0] == written[1]


def test_it_is_chosen_where_exported_files_are_there_too(tiny_captioner):
    assert has_gpu()
    engine, why = open_engine(describe(tiny_captioner, "tiny"), "auto", "tiny")
    assert (engine.description, why) == ("PyTorch, bfloat16, cuda", "There is a GPU.")


@pytest.mark.usefixtures("without_meteor")
@pytest.mark.parametrize("rates", [{}, {"encoder_learning_rate": 1e-4}], ids=["frozen encoder", "encoder trained"])
def test_a_stage_is_trained_there_in_bfloat16(tmp_path, caption_folder, rates):
    torch.cuda.reset_peak_memory_stats()
    scores = train(small(tmp_path, caption_folder, epochs=20, learning_rate=5e-3, bf16=True, **rates))
    assert torch.cuda.max_memory_allocated() > 10e6
    losses = [row["loss"] for row in map(json.loads, (tmp_path / "run" / "log.jsonl").open()) if "loss" in row]
    assert losses[-1] < losses[0]
    assert scores["n"] == 6
