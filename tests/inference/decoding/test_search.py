import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from engines import as_grid, make_model, make_pixels
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.modeling_outputs import BaseModelOutput

from imgcap.inference.decoding.search import Bonus, SearchOptions, _largest, ban, beam_search
from imgcap.inference.engines.torch_engine import TorchEngine
from imgcap.model.decoding import generation_options
from imgcap.reading import LENGTHS

START, END = 1, 2


def until_end(ids):
    """Return the ids after the start token up to and including the first end token."""
    ids = list(ids)[1:]
    return tuple(ids[: ids.index(END) + 1] if END in ids else ids)


@pytest.fixture(scope="module", params=["attention", "merge"])
def model(request):
    return make_model(request.param, vocab_size=40)


@pytest.fixture(scope="module")
def engine(model):
    return TorchEngine(model)


@pytest.fixture(scope="module")
def grid(engine):
    """A random grid for 64 images, which differ more than an untrained network's encodings would."""
    return as_grid(engine, 3 * np.random.default_rng(0).standard_normal((64, 4, 512)).astype(np.float32))


OPTIONS = [
    {"num_beams": 5, "max_length": 12, "suppress_tokens": [0, 1, 3], "no_repeat_ngram_size": 3, "length_penalty": 1.4},
    {"num_beams": 5, "max_length": 14, "suppress_tokens": [0, 1, 3], "length_penalty": -1.0},
    {"num_beams": 3, "max_length": 18, "suppress_tokens": [0, 1], "no_repeat_ngram_size": 2, "length_penalty": 2.0,
     "min_length": 9},
    {"num_beams": 1, "max_length": 8, "length_penalty": 1.0},
    {"num_beams": 8, "max_length": 9, "no_repeat_ngram_size": 1, "length_penalty": 0.0, "suppress_tokens": [0, 1]},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
def test_it_finds_what_generate_finds(model, engine, grid, options):
    beams = options["num_beams"]
    expected = model.generate(
        encoder_outputs=BaseModelOutput(last_hidden_state=grid), do_sample=False, num_return_sequences=beams,
        return_dict_in_generate=True, output_scores=True, **options,
    )  # fmt: skip
    found = beam_search(engine, grid, len(grid), SearchOptions(start=START, end=END, **options))
    ids = expected.sequences.reshape(len(grid), beams, -1).tolist()
    for hypotheses, rows in zip(found, ids, strict=True):
        assert [hypothesis.tokens for hypothesis in hypotheses] == [until_end(row) for row in rows]
    if beams > 1:
        scores = [hypothesis.score for hypotheses in found for hypothesis in hypotheses]
        assert scores == pytest.approx(expected.sequences_scores.tolist(), rel=1e-5)
    if beams > 1:
        assert len({len(hypotheses[0].tokens) for hypotheses in found}) > 1  # or nothing ended early


@pytest.mark.parametrize("options", OPTIONS)
def test_the_log_probability_is_that_of_the_model_as_it_is(model, engine, grid, options):
    found = beam_search(engine, grid[:8], 8, SearchOptions(start=START, end=END, **options))
    for picture, hypotheses in enumerate(found):
        for hypothesis in hypotheses:
            ids = torch.tensor([[START, *hypothesis.tokens]])
            with torch.no_grad():
                logits = model(decoder_input_ids=ids[:, :-1], encoder_outputs=(grid[picture : picture + 1],)).logits
            chosen = logits.log_softmax(-1).gather(2, ids[:, 1:, None]).sum()
            assert hypothesis.log_probability == pytest.approx(chosen.item(), abs=1e-4)


def make_bonus(pictures, seed):
    """Random bonuses of all words and of 60 pairs; some words begin no pair, others several."""
    rng = np.random.default_rng(seed)
    keys = np.sort(rng.choice(20 * 40, 60, replace=False))
    words, pairs = (rng.normal(size=(pictures, size)).astype(np.float32) for size in (40, 60))
    return Bonus(words, pairs, keys)


def added_by(bonus, picture, tokens):
    """The sum over a caption, looked up one by one."""
    pairs = {divmod(key, 40): value for key, value in zip(bonus.keys.tolist(), bonus.pairs[picture], strict=True)}
    return bonus.words[picture, list(tokens)].sum() + sum(
        pairs.get(pair, 0) for pair in itertools.pairwise((START, *tokens))
    )


@pytest.mark.parametrize("options", OPTIONS)
def test_a_bonus_changes_what_is_found_and_not_the_log_probability(model, engine, grid, options):
    """A search with a bonus is the search of a model with other biases, whose scores are then without the bonus."""
    bonus = make_bonus(8, 3)
    options = SearchOptions(start=START, end=END, **options)
    found = beam_search(engine, grid[:8], 8, options, bonus)
    plain = beam_search(engine, grid[:8], 8, options)
    assert [[one.tokens for one in beams] for beams in found] != [[one.tokens for one in beams] for beams in plain]
    for picture, hypotheses in enumerate(found):
        for hypothesis in hypotheses:
            ids = torch.tensor([[START, *hypothesis.tokens]])
            with torch.no_grad():
                logits = model(decoder_input_ids=ids[:, :-1], encoder_outputs=(grid[picture : picture + 1],)).logits
            own = logits.log_softmax(-1).gather(2, ids[:, 1:, None]).sum().item()
            assert hypothesis.log_probability == pytest.approx(own, abs=1e-4)
            added = added_by(bonus, picture, hypothesis.tokens)
            power = len(hypothesis.tokens) ** options.length_penalty
            assert hypothesis.score == pytest.approx((own + added) / power, rel=1e-5, abs=1e-4)


def test_a_bonus_of_zero_changes_nothing(engine, grid):
    options = SearchOptions(start=START, end=END, **OPTIONS[0])
    bonus = make_bonus(len(grid), 3)
    silent = replace(bonus, words=0 * bonus.words, pairs=0 * bonus.pairs)
    assert beam_search(engine, grid, len(grid), options, silent) == beam_search(engine, grid, len(grid), options)


def test_each_picture_has_its_own_bonus(engine, grid):
    """Also when the searches of pictures before it have ended."""
    options = SearchOptions(start=START, end=END, **OPTIONS[0])
    bonus = make_bonus(len(grid), 4)
    together = beam_search(engine, grid, len(grid), options, bonus)
    for picture in range(0, len(grid), 7):
        alone = beam_search(engine, grid[picture : picture + 1], 1, options, bonus.select([picture]))[0]
        assert [one.tokens for one in alone] == [one.tokens for one in together[picture]]


def test_a_picture_is_captioned_alike_alone_and_among_others(engine, grid):
    options = SearchOptions(start=START, end=END, **OPTIONS[0])
    together = beam_search(engine, grid, len(grid), options)
    for picture in range(0, len(grid), 7):
        alone = beam_search(engine, grid[picture : picture + 1], 1, options)[0]
        assert [one.tokens for one in alone] == [one.tokens for one in together[picture]]


def test_a_search_may_begin_with_few_beams(engine, grid, monkeypatch):
    options = SearchOptions(start=START, end=END, **OPTIONS[0])
    widths, step = [], engine.step
    monkeypatch.setattr(engine, "step", lambda words, state: widths.append(len(words)) or step(words, state))
    beam_search(engine, grid[:1], 1, replace(options, beams_at_first=2))
    assert widths[:6] == [1, 2, 3, 4, 5, 5]
    wide, plain = (beam_search(engine, grid, len(grid), replace(options, beams_at_first=beams)) for beams in (5, 0))
    assert wide == plain


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
def test_a_beam_as_wide_as_all_captions_finds_the_best_of_them(penalty):
    words, longest = [4, 5, 6], 4
    model = make_model(vocab_size=7)
    engine = TorchEngine(model)
    grid = engine.encode(make_pixels(1).numpy()).grid
    every = [
        (*body, END)[:longest]
        for size in range(longest + 1)
        for body in itertools.product(words, repeat=size)
    ]  # fmt: skip
    with torch.no_grad():
        scored = {}
        for tokens in every:
            logits = model(decoder_input_ids=torch.tensor([[START, *tokens[:-1]]]), encoder_outputs=(grid,)).logits
            chosen = logits.log_softmax(-1)[0].gather(1, torch.tensor(tokens)[:, None]).sum().item()
            scored[tokens] = chosen / len(tokens) ** penalty
    options = SearchOptions(len(every), longest + 1, START, END, length_penalty=penalty, suppress_tokens=(0, 1, 3))
    found = beam_search(engine, grid, 1, options)[0]
    assert found[0].tokens == max(scored, key=scored.__getitem__)
    assert found[0].score == pytest.approx(max(scored.values()), abs=1e-5)


@settings(deadline=None)
@given(st.lists(st.integers(4, 6), max_size=12), st.integers(0, 4), st.integers(0, 8), st.sets(st.integers(0, 8)))
def test_what_is_banned_is_what_the_rules_name(words, size, min_length, suppressed):
    sequence = [START, *words]
    options = SearchOptions(
        1, 99, START, END, min_length=min_length, no_repeat_ngram_size=size, suppress_tokens=tuple(suppressed)
    )
    logarithms = np.zeros((1, 9), np.float32)
    ban(logarithms, np.array([sequence]), options)
    for word in range(9):
        longer = [*sequence, word]
        grams = [tuple(longer[i : i + size]) for i in range(len(longer) - size + 1)] if size else []
        repeats = bool(grams) and grams[-1] in grams[:-1]
        early = word == END and len(sequence) < min_length
        assert np.isneginf(logarithms[0, word]) == (repeats or early or word in suppressed)


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 500), st.integers(1, 25), st.integers(0, 2**32 - 1))
def test_the_largest_values_are_found_in_order(rows, width, count, seed):
    """Also among equal and impossible values, and wherever the large ones stand."""
    values = np.random.default_rng(seed).choice([*range(60), -np.inf], (rows, width)).astype(np.float32)
    places = _largest(values, count)
    assert all(len(set(row)) == len(row) for row in places.tolist())
    assert np.array_equal(np.take_along_axis(values, places, 1), -np.sort(-values, 1)[:, :count])


def test_options_are_read_as_generate_reads_them():
    fields = {"decoder_start_token_id": 1, "eos_token_id": 2, "num_beams": 5, "max_length": 24, "length_penalty": None}
    options = SearchOptions.read(fields | {"suppress_tokens": [0, 3]})
    assert options == SearchOptions(5, 24, 1, 2, suppress_tokens=(0, 3))
    assert options.for_length("long") == SearchOptions(5, 32, 1, 2, 14, 2.0, 0, (0, 3))
    assert options.for_length("short").length_penalty == -1.0
    assert options.for_length("normal") == options


@pytest.mark.external
def test_it_finds_what_generate_finds_for_hundreds_of_photographs(test_data):
    from imgcap.data.loading import load_rows
    from imgcap.evaluation.run import encode
    from imgcap.inference.checkpoint import load_captioner
    from imgcap.inference.files import describe
    from imgcap.settings import ROOT

    folder = ROOT / "models" / "attention"
    model, processor = load_captioner(str(folder))
    engine, search = TorchEngine(model), replace(describe(folder, "").search, wording=None)
    rows = load_rows(str(test_data / "flickr8k"), "validation", 320)
    for grid in (encoding.grid for encoding in encode(model, processor, rows)):
        for length in LENGTHS:
            options = generation_options(length, model.generation_config)
            ids = model.generate(encoder_outputs=BaseModelOutput(last_hidden_state=grid), **options)
            found = beam_search(engine, grid, len(grid), search.for_length(length))
            best = ids.reshape(len(grid), search.num_beams, -1)[:, 0].tolist()
            assert [beams[0].tokens for beams in found] == [until_end(row) for row in best]
