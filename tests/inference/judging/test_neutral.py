from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imgcap.inference.checkpoint import load_captioner
from imgcap.inference.engines.engine import Encoding
from imgcap.inference.engines.torch_engine import TorchEngine
from imgcap.inference.files import describe
from imgcap.inference.judging.neutral import SexWords, names_sex, without_sex
from imgcap.inference.writer import Writer

NOUNS = ["man", "woman", "men", "women", "boy", "girl", "lady", "guys", "brother", "sister", "father", "son"]
WORDS = [*NOUNS, "a", "the", "and", "two", "dog", "his", "her", "he", "she", "old", "runs", "with", "one"]
CAPTIONS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(
    lambda words: f"{' '.join(words).capitalize()}."
)


@pytest.mark.parametrize(
    ("caption", "neutral"),
    [
        ("A man and a woman are sitting on a bench.", "Two people are sitting on a bench."),
        ("A boy and girl play.", "Two children play."),
        ("Men and women dance.", "People dance."),
        ("An old woman walks her dog behind her.", "An old person walks their dog behind them."),
        (
            "A young boy in a red shirt throws his ball to him.",
            "A young child in a red shirt throws their ball to them.",
        ),
        ("The men see a woman-like figure.", "The people see a woman-like figure."),
    ],
)
def test_neutral_words_by_hand(caption, neutral):
    assert names_sex(caption)
    assert without_sex(caption) == neutral


@pytest.mark.parametrize(
    "caption", ["A dog runs.", "A man runs while he laughs.", "Two men and a woman stand.", "A person with their dog."]
)
def test_what_names_no_sex_or_cannot_be_worded_without_is_left(caption):
    assert not names_sex(caption)


@given(CAPTIONS)
def test_a_neutral_caption_names_no_sex(caption):
    if names_sex(caption):
        words = set(without_sex(caption).lower().rstrip(".").split())
        assert words.isdisjoint({*NOUNS, "his", "her"})
        assert not names_sex(without_sex(caption))


@pytest.fixture(scope="module")
def grid(tiny_captioner):
    channels = load_captioner(str(tiny_captioner))[0].encoder.channels
    return torch.randn(4, 4, channels, generator=torch.Generator().manual_seed(3))


def test_sureness_is_the_share_of_the_probability_of_either_sex(tiny_captioner, grid):
    model, _ = load_captioner(str(tiny_captioner))
    description = describe(tiny_captioner, "")
    words = description.vocabulary.list_words()
    man, woman = words.index("man"), words.index("woman")
    tokens = [words.index("a"), man, words.index("on")]
    start = model.config.decoder_start_token_id
    with torch.no_grad():
        ids = torch.tensor([[start, *tokens[:-1]]] * 4)
        probabilities = model(decoder_input_ids=ids, encoder_outputs=(grid,)).logits.softmax(-1)[:, 1].numpy()
    male = [place for place, word in enumerate(words) if word in {"man", "men", "boy", "boys"}]
    female = [place for place, word in enumerate(words) if word in {"woman", "women", "girl", "girls"}]
    expected = probabilities[:, male].sum(1) / (probabilities[:, male].sum(1) + probabilities[:, female].sum(1))
    sexes = SexWords(description.vocabulary)
    rows = [[tokens, [words.index("a"), words.index("on")]]] * 4
    found = sexes.sureness(TorchEngine(model), grid, rows, start)
    assert [row[0] for row in found] == pytest.approx(expected.tolist(), abs=1e-5)
    assert [row[1] for row in found] == [1.0] * 4
    assert woman in female


@pytest.mark.parametrize("name_sex", ["always", "sure", "never"])
def test_the_writer_names_a_sex_as_often_as_it_may(tiny_captioner, grid, name_sex):
    description = describe(tiny_captioner, "")
    writer = Writer(TorchEngine(load_captioner(str(tiny_captioner))[0]), replace(description, scorer=None), name_sex)
    draft = writer.search(Encoding(grid), "normal")
    others = writer.find_alternatives(draft, 3)
    texts = [[beams[0].text, *(one.text for one in found)] for beams, found in zip(draft.beams, others, strict=True)]
    assert all(len(set(row)) == len(row) for row in texts)
    named = np.array([names_sex(text) for row in texts for text in row])
    assert named.any() == (name_sex == "always")  # with random weights the model is sure of no sex
