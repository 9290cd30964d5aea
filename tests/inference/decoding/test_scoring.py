import numpy as np
import pytest
import torch
from engines import mean_log_probabilities

from imgcap.inference.checkpoint import load_captioner
from imgcap.inference.engines.torch_engine import TorchEngine
from imgcap.inference.files import describe


def test_it_is_the_mean_over_words_and_end_of_the_models_own_log_probabilities(tiny_captioner):
    model, processor = load_captioner(str(tiny_captioner))
    grid = torch.randn(2, 4, model.encoder.channels, generator=torch.Generator().manual_seed(0))
    texts = [
        ["A brown dog runs.", "A cat.", "Two children play with a red ball."],
        ["A woman stands near a white dog."],  # fewer of one picture than of another
    ]
    scores = mean_log_probabilities(TorchEngine(model), describe(tiny_captioner, ""), grid, texts)
    assert [len(own) for own in scores] == [3, 1]
    for picture, captions in enumerate(texts):
        for place, text in enumerate(captions):
            ids = [*processor.tokenizer(text)["input_ids"], model.config.eos_token_id]
            inputs = torch.tensor([ids])
            logits = model(encoder_outputs=(grid[picture : picture + 1],), decoder_input_ids=inputs).logits
            steps = logits[0].log_softmax(-1)
            by_hand = [steps[step, word].item() for step, word in enumerate(ids[1:])]
            assert scores[picture][place] == pytest.approx(np.mean(by_hand), abs=1e-5)
