import numpy as np
import pytest
import torch
from engines import as_grid, make_model

from imgcap.inference.decoding.drawing import DrawingOptions, draw
from imgcap.inference.engines.torch_engine import TorchEngine

START, END = 1, 2


@pytest.fixture(scope="module", params=["attention", "merge"])
def model(request):
    return make_model(request.param, vocab_size=20)


@pytest.fixture(scope="module")
def engine(model):
    return TorchEngine(model)


@pytest.fixture(scope="module")
def grid(engine):
    return as_grid(engine, np.random.default_rng(0).standard_normal((5, 4, 512), np.float32))


def options(temperatures=(0.5, 0.7, 1.0, 1.5) * 6, **fields):
    return DrawingOptions(
        temperatures, **{"max_words": 9, "start": START, "end": END, "suppress_tokens": (0, 1, 3)} | fields
    )


def test_the_log_probability_is_that_of_the_model_as_it_is(model, engine, grid):
    for picture, drawn in enumerate(draw(engine, grid, 5, options())):
        for one in drawn:
            ids = torch.tensor([[START, *one.tokens]])
            with torch.no_grad():
                logits = model(decoder_input_ids=ids[:, :-1], encoder_outputs=(grid[picture : picture + 1],)).logits
            expected = logits.log_softmax(-1).gather(2, ids[:, 1:, None]).sum().item()
            assert one.log_probability == pytest.approx(expected, abs=1e-4)


def test_captions_end_once_are_no_longer_than_they_may_be_and_hold_nothing_that_they_may_not(engine, grid):
    lengths = set()
    for drawn in draw(engine, grid, 5, options(min_words=3)):
        assert len(drawn) == 24
        for one in drawn:
            assert 4 <= len(one.tokens) <= 9
            assert END not in one.tokens[:-1]
            assert one.tokens[-1] == END or len(one.tokens) == 9
            assert not {0, 1, 3} & set(one.tokens)
            lengths.add(len(one.tokens))
    assert len(lengths) > 2


def test_a_picture_gets_the_same_draws_alone_and_among_others(engine, grid):
    together = draw(engine, grid, 5, options())
    assert draw(engine, grid, 5, options()) == together
    for picture in range(5):
        alone = draw(engine, grid[picture : picture + 1], 1, options())[0]
        assert [one.tokens for one in alone] == [one.tokens for one in together[picture]]
    assert draw(engine, grid, 5, options(seed=1)) != together


def test_draws_follow_the_distribution(model, engine, grid):
    count = 4000
    drawn = draw(engine, grid[:1], 1, options((1.0,) * count, max_words=1))[0]
    with torch.no_grad():
        logits = model(decoder_input_ids=torch.tensor([[START]]), encoder_outputs=(grid[:1],)).logits[0, 0]
    logits[[0, 1, 3]] = -torch.inf
    share = np.bincount([one.tokens[0] for one in drawn], minlength=20) / count
    assert np.allclose(share, logits.softmax(-1), atol=0.04)


def test_the_colder_the_likelier(engine, grid):
    cold, hot = ([one for drawn in draw(engine, grid, 5, options((t,) * 40)) for one in drawn] for t in (0.2, 3.0))
    mean = lambda found: np.mean([one.log_probability / len(one.tokens) for one in found])  # noqa: E731
    assert mean(cold) > mean(hot)
