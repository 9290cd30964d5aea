"""Every engine computes what the model in `imgcap.model` computes."""

import numpy as np
import pytest
import torch
from engines import SIDE, as_grid, make_model, make_pixels
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.resnet import BasicBlock

from imgcap.inference.decoding.search import SearchOptions, beam_search
from imgcap.inference.engines.export import write_graphs
from imgcap.inference.engines.onnx_engine import OnnxEngine
from imgcap.inference.engines.torch_engine import TorchEngine

KINDS = [{"decoder": "attention"}, {"decoder": "merge"}, {"decoder": "attention", "encoder": "vgg16"},
         {"decoder": "attention", "decoders": 3}, {"decoder": "merge", "decoders": 2}]  # fmt: skip


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: "-".join(str(value) for value in kind.values()))
def model(request):
    return make_model(**request.param)


@pytest.fixture(scope="module", params=["torch", "onnx"])
def engine(request, model, tmp_path_factory):
    if request.param == "torch":
        return TorchEngine(model)
    folder = tmp_path_factory.mktemp("graphs")
    write_graphs(folder, model)
    return OnnxEngine(folder, quantized=False, threads=2)


def logits_of(model, grid, ids):
    with torch.no_grad():
        return model(encoder_outputs=(torch.from_numpy(grid),), decoder_input_ids=torch.tensor(ids)).logits


@pytest.mark.parametrize("alone", [True, False])
def test_the_grid_is_the_encoders(model, engine, alone):
    pixels = make_pixels(3)
    with torch.no_grad():
        expected = model.encoder(pixels).last_hidden_state
    grid = engine.encode(pixels.numpy(), alone=alone).grid
    assert np.allclose(grid, expected, atol=1e-3 * float(expected.std()))


def test_the_features_are_pooled_from_the_grid_and_from_what_the_last_block_reads(model, engine):
    maps = []
    convolutions = [part for part in model.encoder.trunk.modules() if isinstance(part, torch.nn.Conv2d)]
    blocks = [part for part in model.encoder.trunk.modules() if isinstance(part, BasicBlock)]
    pixels = make_pixels(3)
    with (
        (blocks or convolutions)[-1].register_forward_hook(lambda _, inputs, __: maps.append(inputs[0])),
        torch.no_grad(),
    ):
        grid = model.encoder(pixels).last_hidden_state
    features = engine.encode(pixels.numpy()).features
    for found, expected in (
        (features.grid, grid.mean(1)), (features.early, maps[0].mean((2, 3))), (features.peaks, maps[0].amax((2, 3))),
    ):  # fmt: skip
        assert np.allclose(found, expected, atol=1e-3 * float(expected.std()))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 6), st.randoms(use_true_random=False))
def test_word_by_word_it_has_the_models_log_probabilities(model, engine, pictures, captions, length, rnd):
    channels = model.encoder.channels
    grid = np.random.default_rng(rnd.randrange(99)).standard_normal((pictures, (SIDE // 32) ** 2, channels), np.float32)
    ids = [[rnd.randrange(12) for _ in range(length)] for _ in range(pictures * captions)]
    expected = logits_of(model, grid, ids).log_softmax(-1).numpy()
    state = engine.start(as_grid(engine, grid), captions)
    for place, words in enumerate(np.array(ids).T):
        logarithms, state = engine.step(words, state)
        assert np.allclose(logarithms, expected[:, place], atol=1e-4)
        looked = engine.attention(state)
        if model.config.decoder == "attention":
            assert looked.shape == (pictures * captions, grid.shape[1])
            assert np.allclose(looked.sum(1), 1, atol=1e-5)
        else:
            assert looked is None


def test_selected_rows_go_on_as_they_would_have(model, engine):
    rng = np.random.default_rng(0)
    grid = rng.standard_normal((3, 4, model.encoder.channels), np.float32)
    state = engine.start(as_grid(engine, grid), 2)
    first = rng.integers(4, 12, 6)
    _, state = engine.step(first, state)
    # Of the pictures 0 and 2 three captions each, some of them twice.
    rows, pictures = np.array([1, 0, 1, 4, 5, 5]), np.array([0, 2])
    second = rng.integers(4, 12, 6)
    logarithms, _ = engine.step(second, engine.select(state, rows, pictures))
    ids = [[1, 1, 1], *([1, a, b] for a, b in zip(first[rows], second, strict=True))][1:]
    expected = logits_of(model, grid[pictures], [row[1:] for row in ids]).log_softmax(-1)[:, -1]
    assert np.allclose(logarithms, expected, atol=1e-4)


def test_where_it_looked_is_the_softmax_that_the_decoders_hide(model, engine):
    grid = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 4, model.encoder.channels), np.float32))
    _, after = engine.step(np.array([1]), engine.start(as_grid(engine, grid.numpy()), 1))
    if model.config.decoder == "merge":
        assert engine.attention(after) is None
        return
    looks, zeros = [], torch.zeros(1, 16)
    with torch.no_grad():
        for decoder in model.decoders:
            keys, _, mean = decoder.start(grid, 1).memory
            words = model.embedding(torch.tensor([1]))
            h1, _ = decoder.attention_lstm(torch.cat((words, mean, zeros), -1), (zeros, zeros))
            query = decoder.query(h1).view(1, 1, 2, 8).transpose(1, 2)
            looks.append((query @ keys.transpose(-1, -2) / 8**0.5).softmax(-1).mean(1)[0])
    assert np.allclose(engine.attention(after), torch.stack(looks).mean(0), atol=1e-5)


def test_all_engines_find_the_same_captions(model, engine):
    grid = 3 * np.random.default_rng(0).standard_normal((16, 4, model.encoder.channels), np.float32)
    options = SearchOptions(5, 10, 1, 2, no_repeat_ngram_size=3, suppress_tokens=(0, 1, 3))
    reference = TorchEngine(model)
    expected = beam_search(reference, as_grid(reference, grid), 16, options)
    found = beam_search(engine, as_grid(engine, grid), 16, options)
    assert [[one.tokens for one in beams] for beams in found] == [[one.tokens for one in beams] for beams in expected]


def test_everything_is_put_where_the_engine_runs():
    """On the meta device, which holds no numbers: a tensor left on the CPU would not compute with the others."""
    engine = TorchEngine(make_model(), "meta", torch.bfloat16)
    with torch.inference_mode():
        grid, *pooled = engine.graphs[0](make_pixels(2).to("meta"))
    assert (grid.device.type, grid.dtype, grid.shape) == ("meta", torch.float32, (2, 4, 512))
    assert {(tensor.device.type, tensor.dtype, tensor.shape) for tensor in pooled} == {
        ("meta", torch.float32, (2, 512))
    }
    state = engine.start(grid, 3)
    with torch.inference_mode():
        words = torch.ones(2, 3, dtype=torch.long, device="meta")
        logarithms, hidden, looked = engine.graphs[2](words, state.hidden, *state.memory)
    assert {tensor.device.type for tensor in (logarithms, hidden, looked, *state.memory)} == {"meta"}
    state = engine.select(state, np.array([0, 0, 5, 5]), np.array([0, 1]))
    assert state.hidden.shape == (2, 2, 64)
    assert engine.description == "PyTorch, bfloat16, meta"


def test_a_bfloat16_encoder_gives_nearly_the_same_grid():
    pixels = make_pixels(2).numpy()
    exact, rounded = (
        np.asarray(engine.encode(pixels).grid)
        for engine in (TorchEngine(make_model()), TorchEngine(make_model(), encoder_dtype=torch.bfloat16))
    )
    assert np.linalg.norm(rounded - exact) < 0.05 * np.linalg.norm(exact)
