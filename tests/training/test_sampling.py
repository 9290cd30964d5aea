import pytest
import torch

from imgcap.inference.checkpoint import load_captioner
from imgcap.training.sampling import sample


@pytest.fixture(scope="module")
def model(tiny_captioner):
    return load_captioner(str(tiny_captioner))[0].eval()


@pytest.fixture(scope="module")
def grid(model):
    return torch.randn(2, 4, model.encoder.channels, generator=torch.Generator().manual_seed(0))


def logits_after(model, grid, ids):
    """Return logits without the tokens that no caption may contain."""
    with torch.no_grad():
        logits = model(decoder_input_ids=ids, encoder_outputs=(grid,)).logits.float()
    logits[..., [model.config.pad_token_id, model.config.bos_token_id, model.config.unk_token_id]] = -torch.inf
    return logits


def test_the_probabilities_of_samples_are_those_of_the_forward_pass(model, grid):
    torch.manual_seed(0)
    temperatures = torch.tensor([0.5, 0.8, 1.0, 1.2, 1.5, 2.0])[:, None]
    drawn = sample(model, grid, 3, max_words=9, temperature=temperatures)
    start = torch.full((6, 1), model.config.decoder_start_token_id)
    logits = logits_after(model, grid, torch.cat((start, drawn.ids[:, :-1]), 1))
    expected = (logits / temperatures[..., None]).log_softmax(-1).gather(2, drawn.ids[..., None])[..., 0]
    assert torch.allclose(drawn.log_probabilities[drawn.counted], expected[drawn.counted], atol=1e-5)
    assert (drawn.log_probabilities[~drawn.counted] == 0).all()
    assert drawn.log_probabilities.requires_grad


def test_a_sample_counts_up_to_its_first_end_token(model, grid):
    torch.manual_seed(1)
    drawn = sample(model, grid, 200, max_words=12)
    end, pad = model.config.eos_token_id, model.config.pad_token_id
    ended = 0
    for ids, counted in zip(drawn.ids.tolist(), drawn.counted.tolist(), strict=True):
        length = ids.index(end) + 1 if end in ids else len(ids)
        ended += end in ids
        assert counted == [True] * length + [False] * (len(ids) - length)
        assert set(ids[length:]) <= {pad}
        assert not {pad, model.config.bos_token_id, model.config.unk_token_id} & set(ids[:length])
    assert 0 < ended < 400


def test_samples_follow_the_distribution(model, grid):
    drawn = sample(model, grid, 20_000, max_words=1, generator=torch.Generator().manual_seed(2)).ids
    expected = logits_after(model, grid, torch.full((2, 1), model.config.decoder_start_token_id))[:, 0].softmax(-1)
    share = torch.stack([row.flatten().bincount(minlength=expected.size(1)) / 20_000 for row in drawn.chunk(2)])
    assert torch.allclose(share, expected, atol=0.02)


def test_a_sample_is_as_long_as_it_may_be_and_no_shorter(model, grid):
    drawn = sample(model, grid, 200, max_words=8, min_words=4, temperature=3.0).ids
    assert drawn.shape == (400, 8)
    ended = drawn == model.config.eos_token_id
    assert not ended[:, :4].any()
    assert ended[:, 4:].any()
    assert not ended.any(1).all()


def test_a_generator_draws_the_same_again_and_leaves_the_global_one_alone(model, grid):
    state = torch.get_rng_state()
    first, second = (
        sample(model, grid, 5, max_words=6, generator=torch.Generator().manual_seed(3)).ids for _ in range(2)
    )
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
