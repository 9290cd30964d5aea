from dataclasses import replace

import numpy as np
import pytest

from imgcap.evaluation.ngrams import fit_predictor
from imgcap.inference.checkpoint import load_captioner
from imgcap.inference.decoding.scoring import score
from imgcap.inference.engines.engine import Features
from imgcap.inference.engines.torch_engine import TorchEngine
from imgcap.inference.files import describe
from imgcap.inference.judging.cider import CiderD
from imgcap.inference.writer import Writer

UNKNOWN = 3


@pytest.mark.parametrize("words", [1, 3])
@pytest.mark.parametrize("length", ["short", "normal", "long"])
def test_a_captioner_of_few_words_still_describes_every_picture(tiny_captioner, words, length):
    description = describe(tiny_captioner, "tiny")
    options = description.search
    known = [i for i in range(4, len(description.vocabulary.list_words())) if i not in options.suppress_tokens]
    few = replace(options, suppress_tokens=(*options.suppress_tokens, *known[words:]))
    writer = Writer(TorchEngine(load_captioner(str(tiny_captioner))[0].eval()), replace(description, search=few))
    side = description.preprocessing.side
    pixels = np.random.default_rng(0).normal(size=(3, 3, side, side)).astype(np.float32)
    draft = writer.write(pixels, length)
    assert [len(caption.caption) > 1 for caption in writer.captions(draft)] == [True] * 3
    assert len(writer.add_alternatives(draft, 3)) == 3


@pytest.mark.parametrize("length", ["short", "normal", "long"])
def test_predicted_ngrams_change_the_caption_and_not_what_its_words_are_worth(tiny_captioner, length):
    """The confidence comes from the log-probability, which must be the model's own."""
    description = describe(tiny_captioner, "tiny")
    engine = TorchEngine(load_captioner(str(tiny_captioner))[0].eval())
    side, words = description.preprocessing.side, description.vocabulary.list_words()
    pixels = np.random.default_rng(0).normal(size=(12, 3, side, side)).astype(np.float32)
    pixels += 2 * (np.arange(12, dtype=np.float32) % 4)[:, None, None, None]  # images with the same words look alike
    encoding = engine.encode(pixels)
    known = [i for i in range(4, len(words)) if i not in description.search.suppress_tokens]
    captions = [[known[start : start + 4]] for start in 3 * [0, 4, 8, 12]] * 2
    near = Features(
        *(values + 0.01 for values in (encoding.features.grid, encoding.features.early, encoding.features.peaks))
    )
    features = Features.concatenate([encoding.features, near])
    ngrams = replace(fit_predictor(features, captions, CiderD(captions), UNKNOWN), steering=400.0)
    with_ngrams = Writer(engine, replace(description, ngrams=ngrams, scorer=CiderD(captions)))
    plain = Writer(engine, replace(description, ngrams=None)).search(encoding, length)
    draft = with_ngrams.search(encoding, length)
    texts = [[beams[0].text for beams in one.beams] for one in (draft, plain)]
    assert texts[0] != texts[1]
    for picture, beams in enumerate(draft.beams):
        tokens = [[*description.vocabulary.encode([one.text])[0], description.search.end] for one in beams]
        [sums] = score(engine, encoding[[picture]].grid, [tokens], description.search.start)
        means = [total / len(row) for total, row in zip(sums, tokens, strict=True)]
        assert [one.log_probability for one in beams] == pytest.approx(means, abs=1e-4)
