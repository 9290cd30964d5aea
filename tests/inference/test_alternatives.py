import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imgcap.inference.alternatives import LEAST_LIKELY, MOST_SHARED, choose, overlap, write_different
from imgcap.inference.checkpoint import load_captioner
from imgcap.inference.wording import well_formed

WORDS = ["a", "the", "of", "on", "dog", "cat", "man", "woman", "runs", "sits", "red", "blue", "grass", "ball", "<unk>"]
CAPTIONS = st.lists(st.sampled_from(WORDS), max_size=10).map(lambda words: f"{' '.join(words).capitalize()}.")


@pytest.fixture(scope="module")
def loaded(tiny_captioner):
    return load_captioner(str(tiny_captioner))


@pytest.fixture
def grid(loaded):
    model, _ = loaded
    return torch.randn(1, 4, model.encoder.channels, generator=torch.Generator().manual_seed(0))


def test_turning_the_small_words_around_makes_no_other_caption():
    caption = "A brown dog runs through the green grass."
    same = ["The brown dog runs on a green grass.", "A brown dog running in grass that is green."]
    other = "Two dogs play on a field."
    assert choose(caption, [*same, other], 3) == [other]


def test_the_overlap_of_two_captions_by_hand():
    # brown dog runs grass, black dog runs beach: two of six
    assert overlap("A brown dog runs on the grass.", "The black dog runs on a beach.") == pytest.approx(2 / 6)


@settings(deadline=None)
@given(CAPTIONS, st.lists(CAPTIONS, max_size=12), st.integers(0, 4))
def test_the_chosen_are_few_well_formed_in_order_and_different(caption, candidates, count):
    chosen = choose(caption, candidates, count)
    assert len(chosen) <= count
    assert all(well_formed(text) for text in chosen)
    assert sorted(chosen, key=candidates.index) == chosen
    together = [caption, *chosen]
    pairs = [(one, other) for place, one in enumerate(together) for other in together[:place]]
    assert all(overlap(one, other) <= MOST_SHARED for one, other in pairs)


def test_the_same_picture_gets_the_same_captions_whatever_else_draws(loaded, grid):
    state = torch.get_rng_state()
    first = write_different(*loaded, grid, "normal", 3)
    assert torch.equal(torch.get_rng_state(), state)
    stop = threading.Event()

    def draw():
        while not stop.is_set():
            torch.rand(1000)

    noise = threading.Thread(target=draw)
    noise.start()
    try:
        assert write_different(*loaded, grid, "normal", 3) == first
    finally:
        stop.set()
        noise.join()


@pytest.mark.parametrize("length", ["short", "normal", "long"])
def test_the_beams_caption_comes_first_and_the_others_differ(loaded, grid, length):
    from transformers.modeling_outputs import BaseModelOutput

    from imgcap.model.decoding import generation_options

    model, processor = loaded
    options = generation_options(length, model.generation_config)
    beams = processor.sentences(model.generate(encoder_outputs=BaseModelOutput(last_hidden_state=grid), **options))
    written = write_different(model, processor, grid, length, 3)
    captions = [text for text, _ in written]
    assert captions[0] == beams[0]
    assert 1 < len(captions) <= 4
    assert choose(captions[0], captions[1:], 3) == captions[1:]
    likely = [probability for _, probability in written]
    assert min(likely) >= likely[0] - LEAST_LIKELY
    if length == "long":
        assert all(len(text.split()) >= options["min_length"] - 1 for text in captions)
