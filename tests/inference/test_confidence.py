import numpy as np
import pytest
import torch

from imgcap.inference.checkpoint import load_captioner
from imgcap.inference.confidence import confidence, mean_log_probabilities
from imgcap.model import ImgcapConfig


@pytest.fixture(scope="module")
def loaded(tiny_captioner):
    return load_captioner(str(tiny_captioner))


# From words to a log-probability


def test_it_is_the_mean_over_words_and_end_of_the_models_own_log_probabilities(loaded):
    model, processor = loaded
    grid = torch.randn(2, 4, model.encoder.channels, generator=torch.Generator().manual_seed(0))
    texts = ["A brown dog runs.", "A cat.", "Two children play with a red ball.", "A woman stands near a white dog."]
    scores = mean_log_probabilities(model, processor, grid, texts)
    for row, text in enumerate(texts):
        ids = [*processor.tokenizer(text)["input_ids"], model.config.eos_token_id]
        logits = model(encoder_outputs=(grid[row // 2 : row // 2 + 1],), decoder_input_ids=torch.tensor([ids])).logits
        steps = logits[0].log_softmax(-1)
        by_hand = [steps[place, word].item() for place, word in enumerate(ids[1:])]
        assert scores[row] == pytest.approx(np.mean(by_hand), abs=1e-5)


# From a log-probability to a confidence


def test_an_uncalibrated_model_has_none():
    assert confidence(ImgcapConfig(), -1.0) is None
    with pytest.raises(ValueError, match="together or not at all"):
        ImgcapConfig(confidence_slope=1.0)


def test_the_configuration_says_how():
    config = ImgcapConfig(confidence_slope=2.0, confidence_intercept=3.0)
    assert confidence(config, -1.0) == pytest.approx(1 / (1 + np.exp(-1.0)))
