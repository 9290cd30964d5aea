from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgcap.inference.decoding.search import SearchOptions, beam_search
from imgcap.inference.decoding.wording import (
    DANGLING,
    REPEATABLE,
    WordingRules,
    breaks_off,
    repeats_itself,
    stem,
    well_formed,
    with_articles,
)

SPECIAL = ["<pad>", "<start>", "<end>", "<unk>"]
WORDS = [
    "a", "the", "and", "in", "is", "with", "two", "dog", "dogs", "run", "runs", "running", "hat", "brown", "colorful",
    "colored", "green",
]  # fmt: skip
VOCABULARY = [*SPECIAL, *WORDS]
RULES = WordingRules(VOCABULARY, special=range(4), end=2)
PREFIXES = st.lists(st.integers(4, len(VOCABULARY) - 1), max_size=9)


class RandomEngine:
    """An engine whose log-probabilities depend on the last word alone, by a table drawn at random."""

    description = "random"

    def __init__(self, seed: int) -> None:
        table = np.random.default_rng(seed).normal(0, 3, (len(VOCABULARY), len(VOCABULARY))).astype(np.float32)
        self.table = table - np.log(np.exp(table).sum(1, keepdims=True))

    def start(self, grid, captions):
        return None

    def step(self, words, state):
        return self.table[words].copy(), None

    def select(self, state, rows, pictures=None):
        return None


@pytest.mark.parametrize(
    "caption",
    [
        "A dog.", "A man rides a bicycle down the.", "A dog runs with a <unk>.", "A man in a man in a man in a hat.",
        "A dog dog runs on grass.", "", ".", "A brown and brown dog runs.", "A man in a hat and a hat.",
        "A colorful colorful colorful colored kite.", "A man runs while running.", "A man in in a hat.",
    ],
)  # fmt: skip
def test_what_nobody_would_say_is_not_well_formed(caption):
    assert not well_formed(caption)


@pytest.mark.parametrize(("caption", "broken"), [("A man in a.", True), ("", True), ("A man in a hat.", False)])
def test_a_caption_that_calls_for_another_word_breaks_off(caption, broken):
    assert breaks_off(caption) is broken


@pytest.mark.parametrize(
    "caption", ["A man in a red shirt and a woman with a blue hat run.", "Two men and two women stand on the beach."]
)
def test_an_ordinary_caption_is_well_formed(caption):
    assert well_formed(caption)


@pytest.mark.parametrize(
    ("written", "right"),
    [
        ("A orange shirt.", "An orange shirt."),
        ("A man in a orange and an red hat.", "A man in an orange and a red hat."),
        ("An man on an unicycle.", "A man on a unicycle."),
        ("A one-armed man in a uniform at a university.", "A one-armed man in a uniform at a university."),
        ("A european man with an one dollar bill.", "A european man with a one dollar bill."),
        ("An hour in an unidentified place.", "An hour in an unidentified place."),
        ("A uninteresting union.", "An uninteresting union."),
        ("An suv and an atv.", "An suv and an atv."),
        ("An rv.", "An rv."),
        ("A 8 year old, an 3 year old.", "An 8 year old, an 3 year old."),
        ("An x-ray of an hotel.", "An x-ray of a hotel."),
        ("Data and pasta are an.", "Data and pasta are an."),
    ],
)
def test_articles_follow_the_sound_behind_them(written, right):
    assert with_articles(written) == right


@given(PREFIXES)
def test_articles_change_nothing_else(ids):
    caption = " ".join(VOCABULARY[i] for i in ids)
    corrected = with_articles(caption)
    assert with_articles(corrected) == corrected
    assert [word for word in corrected.split() if word not in ("a", "an")] == [
        word for word in caption.split() if word not in ("a", "an")
    ]


@given(PREFIXES)
def test_the_banned_words_are_those_that_break_a_rule(ids):
    logarithms = np.zeros((1, len(VOCABULARY)), np.float32)
    RULES.ban(logarithms, np.array([[1, *ids]]))
    words = [VOCABULARY[i] for i in ids]
    stems = {stem(word) for word in words if word not in REPEATABLE}
    for place, word in enumerate(VOCABULARY):
        if place == 2:
            banned = len(words) < 3 or words[-1] in DANGLING
        elif word in SPECIAL:
            banned = word == "<start>" and not words  # the last token never follows itself
        else:
            banned = words[-1:] == [word] or (word not in REPEATABLE and stem(word) in stems)
        assert (logarithms[0, place] == -np.inf) == banned, word


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(8, 16))
def test_no_search_ends_in_a_caption_that_breaks_a_rule(seed, beams, longest):
    options = SearchOptions(
        beams, longest, start=1, end=2, no_repeat_ngram_size=3, suppress_tokens=(0, 1, 3), wording=RULES
    )
    for hypothesis in beam_search(RandomEngine(seed), None, 1, options)[0]:
        words = [VOCABULARY[i] for i in hypothesis.tokens if i != 2]
        assert not repeats_itself(" ".join(words))
        assert all(one != other for one, other in pairwise(words))
        if hypothesis.tokens[-1] == 2:
            assert well_formed(" ".join(words))
