import io
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imgcap.inference.files import Preprocessing, as_sentence, describe
from imgcap.inference.preprocessing import preprocess
from imgcap.model import ImgcapImageProcessor, decoding
from imgcap.settings import ROOT

TOLERANCE = 1.0
"""Grey levels of 255 by which a pixel may differ from the model's own image processor."""
IMAGENET = Preprocessing(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SAMPLES = sorted(path for path in (ROOT / "tests" / "samples").iterdir() if path.suffix in (".jpg", ".png"))


def difference(image):
    """The greatest difference of a pixel, in grey levels."""
    ours = preprocess([image], IMAGENET)
    theirs = ImgcapImageProcessor()(image, return_tensors="np", input_data_format="channels_last")["pixel_values"]
    assert ours.dtype == np.float32
    assert ours.shape == theirs.shape == (1, 3, 224, 224)
    std = np.array(IMAGENET.std).reshape(3, 1, 1)
    return float(np.abs((ours - theirs) * std * 255).max())


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_photographs_are_prepared_as_the_processor_prepares_them(path):
    assert difference(np.asarray(Image.open(path).convert("RGB"))) <= TOLERANCE + 1e-3


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 99))
def test_so_are_pictures_of_any_size(height, width, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert difference(image) <= 2 * TOLERANCE + 1e-3  # noise, the hardest case


@pytest.mark.external
def test_so_is_a_whole_validation_split(test_data):
    import datasets

    rows = datasets.load_dataset(str(test_data / "flickr8k"), split="validation").cast_column(
        "image", datasets.Image(decode=False)
    )
    worst = max(difference(np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB"))) for row in rows)
    assert worst <= TOLERANCE + 1e-3


def test_pictures_of_several_sizes_make_a_batch():
    images = [np.full((30, 40, 3), 10, np.uint8), np.full((400, 90, 3), 200, np.uint8)]
    together = preprocess(images, IMAGENET)
    for place, image in enumerate(images):
        assert np.array_equal(together[place], preprocess([image], IMAGENET)[0])


@given(st.text(alphabet="ab .\n", max_size=12))
def test_sentences_read_as_the_models_own_processor_writes_them(text):
    assert as_sentence(text) == decoding.as_sentence(text)


def test_the_words_are_the_processors(tiny_captioner):
    from imgcap.inference.checkpoint import load_captioner

    _, processor = load_captioner(str(tiny_captioner))
    vocabulary = describe(tiny_captioner, "").vocabulary
    rng = np.random.default_rng(0)
    rows = [[*rng.integers(0, len(processor.tokenizer), 9).tolist(), 2] for _ in range(50)]
    assert vocabulary.sentences(rows) == [processor.sentences([row])[0] for row in rows]
    texts = ["A brown DOG runs.", "a zebra, quickly!", ""]
    theirs = processor.tokenizer(texts)["input_ids"]
    assert vocabulary.encode(texts) == [row[1:] for row in theirs]
    assert "transformers" in sys.modules  # the comparison was with the real one


@pytest.mark.parametrize("length", ["short", "normal", "long"])
def test_the_search_is_configured_as_generate_is(tiny_captioner, length):
    from imgcap.inference.checkpoint import load_captioner

    default = load_captioner(str(tiny_captioner))[0].generation_config
    options = decoding.generation_options(length, default)
    ours = describe(tiny_captioner, "").search.for_length(length)
    assert ours.num_beams == options["num_return_sequences"]
    for name in ("length_penalty", "min_length", "max_length", "no_repeat_ngram_size"):
        theirs = options.get(name, getattr(default, name))
        fallback = {"length_penalty": 1.0, "min_length": 0, "no_repeat_ngram_size": 0}.get(name)
        assert getattr(ours, name) == (fallback if theirs is None else theirs), name
    assert list(ours.suppress_tokens) == default.suppress_tokens
