from dataclasses import replace

import numpy as np
import pytest

from imgcap.inference.checkpoint import load_captioner
from imgcap.inference.files import describe
from imgcap.inference.torch_engine import TorchEngine
from imgcap.inference.writer import Writer


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
