from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.modeling_outputs import BaseModelOutput

from imgcap.inference.checkpoint import load_captioner
from imgcap.inference.decoding.wording import repeats_itself, well_formed
from imgcap.inference.engines.engine import Encoding
from imgcap.inference.engines.torch_engine import TorchEngine
from imgcap.inference.files import describe
from imgcap.inference.judging.alternatives import (
    LEAST_LIKELY,
    MOST_SHARED,
    Candidate,
    choose,
    choose_different,
    overlap,
)
from imgcap.inference.writer import Writer
from imgcap.model.decoding import generation_options

WORDS = ["a", "the", "of", "on", "dog", "cat", "man", "woman", "runs", "sits", "red", "blue", "grass", "ball", "<unk>"]
CAPTIONS = st.lists(st.sampled_from(WORDS), max_size=10).map(lambda words: f"{' '.join(words).capitalize()}.")


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


CANDIDATES = st.lists(st.builds(Candidate, CAPTIONS, st.floats(-5, 0)), min_size=1, max_size=12)


@settings(deadline=None)
@given(CANDIDATES, st.integers(0, 4), st.floats(-1, 2))
def test_alternatives_differ_are_nearly_as_likely_and_ranked_as_a_beam_search_ranks(candidates, count, penalty):
    first: dict[str, float] = {}
    for candidate in candidates:
        first.setdefault(candidate.text, candidate.log_probability)
    caption = candidates[0]
    chosen = choose_different(candidates, count, penalty)
    texts = [candidate.text for candidate in chosen]
    assert choose(caption.text, texts, count) == texts
    assert all(first[one.text] == one.log_probability >= caption.log_probability - LEAST_LIKELY for one in chosen)
    tokens = [len(text.split()) + 1 for text in texts]
    ranks = [one.log_probability * n / n**penalty for one, n in zip(chosen, tokens, strict=True)]
    assert ranks == sorted(ranks, reverse=True) or np.allclose(ranks, sorted(ranks, reverse=True))


@pytest.mark.parametrize("length", ["short", "normal", "long"])
def test_the_beams_caption_comes_first_and_the_others_differ(tiny_captioner, length):
    model, processor = load_captioner(str(tiny_captioner))
    grid = torch.randn(3, 4, model.encoder.channels, generator=torch.Generator().manual_seed(0))
    options = generation_options(length, model.generation_config)
    beams = processor.sentences(model.generate(encoder_outputs=BaseModelOutput(last_hidden_state=grid), **options))
    description = describe(tiny_captioner, "")
    description = replace(description, search=replace(description.search, wording=None))  # generate() has no such rules
    writer = Writer(TorchEngine(model), description)
    draft = writer.search(Encoding(grid), length)
    captions, others = writer.captions(draft), writer.add_alternatives(draft, 3)
    assert [caption.caption for caption in captions] == beams[::5]
    assert any(others) or length == "long"
    for caption, alternatives in zip(captions, others, strict=True):
        texts = [one.caption for one in alternatives]
        assert choose(caption.caption, texts, 3) == texts
        if length == "long":
            assert all(len(text.split()) >= options["min_length"] - 1 for text in texts)
    assert writer.add_alternatives(draft, 0) == [()] * 3
    alone = writer.add_alternatives(writer.select(draft, [2]), 3)
    assert [[one.caption for one in chosen] for chosen in alone] == [[one.caption for one in others[2]]]


@pytest.mark.parametrize("length", ["short", "normal", "long"])
def test_the_rules_of_wording_hold_and_the_caption_that_others_agree_with_comes_first(tiny_captioner, length):
    model, _ = load_captioner(str(tiny_captioner))
    grid = torch.randn(3, 4, model.encoder.channels, generator=torch.Generator().manual_seed(0))
    description = describe(tiny_captioner, "")
    description = replace(description, search=replace(description.search, no_repeat_ngram_size=3))
    plain = Writer(TorchEngine(model), description).search(Encoding(grid), length)
    assert not any(repeats_itself(one.text) for beams in plain.beams for one in beams)

    class LikesTheLast:
        def weigh_together(self, captions):
            assert description.search.end not in {word for tokens in captions for word in tokens}
            return captions

        def compare(self, captions):
            return np.repeat(1000 * np.arange(len(captions))[:, None], len(captions), 1)  # more than any search score

    agreed = Writer(TorchEngine(model), replace(description, scorer=LikesTheLast())).search(Encoding(grid), length)
    assert [beams[0] for beams in agreed.beams] == [beams[-1] for beams in plain.beams]
    assert [sorted(one.text for one in beams) for beams in agreed.beams] == [
        sorted(one.text for one in beams) for beams in plain.beams
    ]
