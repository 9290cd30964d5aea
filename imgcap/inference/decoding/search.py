"""Beam search with any engine, in numpy, for many images at once.

It finds the same captions as transformers' `generate()` with the same options, token for token: it has the same
pruning, the same length normalisation (Wu et al., 2016, arXiv:1609.08144, but with the length itself instead of their
polynomial) and the same rule for when to stop. Unlike `generate()`, it computes nothing more for an image whose search
has ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgcap.inference.decoding.wording import WordingRules
from imgcap.inference.engines.engine import Engine

NEVER = np.float32(-1e9)
"""The score of an impossible hypothesis, as in transformers."""
_IN_GROUP = 10  # values of which `_largest` first looks only at the largest


@dataclass(frozen=True)
class SearchOptions:
    """How captions are searched for; the fields are named as in transformers' GenerationConfig.

    num_beams: hypotheses kept for each image.
    beams_at_first: hypotheses kept after the first word; after each further word, one more until there are `num_beams`.
        0 keeps `num_beams` from the beginning, as `generate()` does.
    length_penalty: a hypothesis's log-probability is divided by its number of words to this power.
    no_repeat_ngram_size: length of the n-grams that may not occur twice in one caption; 0 allows all.
    suppress_tokens: ids that no caption contains.
    min_length, max_length: tokens of a caption, including the start token.
    start, end: ids of the tokens that a caption begins and ends with.
    wording: rules that every caption keeps; None for only the rules of `generate()`.
    """

    num_beams: int
    max_length: int
    start: int
    end: int
    min_length: int = 0
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    suppress_tokens: tuple[int, ...] = ()
    wording: WordingRules | None = None
    beams_at_first: int = 0

    @classmethod
    def read(cls, generation: dict[str, Any]) -> "SearchOptions":
        """Return the options in the fields of a generation_config.json."""

        def get(name: str, default: Any) -> Any:
            value = generation.get(name)
            return default if value is None else value

        return cls(
            num_beams=get("num_beams", 1),
            max_length=get("max_length", 20),
            start=generation["decoder_start_token_id"],
            end=generation["eos_token_id"],
            min_length=get("min_length", 0),
            length_penalty=get("length_penalty", 1.0),
            no_repeat_ngram_size=get("no_repeat_ngram_size", 0),
            suppress_tokens=tuple(get("suppress_tokens", ())),
        )

    def for_length(self, length: str) -> "SearchOptions":
        """Return the options for a "short", "normal" or "long" caption."""
        # The same as imgcap.model.decoding.generation_options, which is for the Hub; a test compares them.
        if length == "short":
            return replace(self, length_penalty=-1.0)
        if length == "long":
            return replace(self, length_penalty=2.0, min_length=14, max_length=self.max_length + 8)
        return self


@dataclass(frozen=True)
class Hypothesis:
    """One caption that a search found.

    tokens: ids, without the start token; the last is the end token unless the caption was cut off at max_length.
    score: the value that the search ranks by: log-probability and bonus, divided by a power of the number of tokens.
    log_probability: the sum over `tokens`, natural logarithm, under the unaltered model.
    """

    tokens: tuple[int, ...]
    score: float
    log_probability: float


@dataclass(frozen=True)
class Bonus:
    """What is added to the log-probabilities of B images' words where a search ranks.

    words: (B, V), for each word.
    pairs: (B, G), in addition, for the second word of each of G pairs.
    keys: (G,), the id of each pair's first word times V, plus that of its second word; ascending.
    """

    words: NDArray[np.float32]
    pairs: NDArray[np.float32]
    keys: NDArray[np.int64]

    def add(self, logarithms: NDArray[np.float32], last: NDArray[np.int64], pictures: NDArray[np.int64]) -> None:
        """Add the bonus of every next word, in place.

        Args:
            logarithms: (b, n, V), C-contiguous, of n captions of each of b images.
            last: (b, n), the captions' last words.
            pictures: (b,), indices of the images.
        """
        words = self.words.shape[1]
        logarithms += self.words[pictures, None]
        before = last.ravel() * words
        starts, ends = np.searchsorted(self.keys, (before, before + words))
        counts = ends - starts
        row = np.repeat(np.arange(last.size), counts)
        place = np.arange(len(row)) + np.repeat(starts - counts.cumsum() + counts, counts)
        added = self.pairs[pictures[row // last.shape[1]], place]
        logarithms.reshape(-1)[row * words + self.keys[place] % words] += added

    def of(self, last: NDArray[np.int64], words: NDArray[np.int64], pictures: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the bonus (b, k) of words (b, k) after captions whose last words are (b, k)."""
        own = pictures[:, None]
        bonus = self.words[own, words]
        if len(self.keys):
            keys = last * self.words.shape[1] + words
            place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
            bonus += np.where(self.keys[place] == keys, self.pairs[own, place], 0)
        return bonus

    def select(self, pictures: Sequence[int]) -> "Bonus":
        """Return the bonus of some of the images."""
        return replace(self, words=self.words[list(pictures)], pairs=self.pairs[list(pictures)])


def beam_search(
    engine: Engine[Any], grid: Any, pictures: int, options: SearchOptions, bonus: Bonus | None = None
) -> list[list[Hypothesis]]:
    """Search for captions of images.

    Args:
        engine: computes the probabilities.
        grid: (B, P, C) of that engine.
        pictures: B.
        options: how to search.
        bonus: of the B images; None for no bonus.

    Returns:
        For each image its `num_beams` best captions, the best first; fewer if the options allow fewer.
    """
    beams = options.num_beams
    going = np.arange(pictures)  # the images whose search has not ended
    # All beams of an image would be alike before the first word, so one row computes it.
    sequences = np.full((pictures, 1, 1), options.start)
    scores = np.zeros((pictures, 1), np.float32)
    bonuses = np.zeros_like(scores)  # what is in the scores beside the log-probability
    found: list[list[Hypothesis]] = [[] for _ in range(pictures)]
    state = engine.start(grid, 1)
    while True:
        _, width, length = sequences.shape
        logarithms, state = engine.step(sequences[..., -1].ravel(), state)
        ban(logarithms, sequences.reshape(-1, length), options)
        logarithms += scores.reshape(-1, 1)
        if bonus is not None:
            bonus.add(logarithms.reshape(len(going), width, -1), sequences[..., -1], going)
        totals = logarithms.reshape(len(going), -1)
        best = _largest(totals, 2 * beams)
        own = np.arange(len(going))[:, None]
        totals = totals[own, best]
        origin, word = np.divmod(best, logarithms.shape[1])
        candidates = np.concatenate((sequences[own, origin], word[..., None]), 2)
        if bonus is not None:
            bonuses = bonuses[own, origin] + bonus.of(sequences[own, origin, -1], word, going)
        last = length + 1 >= options.max_length
        ended = (word == options.end) | last
        power = np.float32(length**options.length_penalty)
        # Only the better half may be finished captions; the other half goes on if all of the better half have ended.
        for place, beam in zip(*np.nonzero(ended[:, :beams] & (totals[:, :beams] > NEVER / 2)), strict=True):
            total = totals[place, beam]
            tokens = tuple(candidates[place, beam, 1:].tolist())
            hypotheses = found[going[place]]
            plain = total if bonus is None else total - bonuses[place, beam]
            hypotheses.append(Hypothesis(tokens, float(total / power), float(plain)))
            hypotheses.sort(key=lambda hypothesis: -hypothesis.score)  # stable: among equals the earlier one stays
            del hypotheses[beams:]
        if last:
            return found

        totals[ended] += NEVER
        open_beams = min(beams, options.beams_at_first + length - 1) if options.beams_at_first else beams
        kept = _largest(totals, open_beams)
        scores = totals[own, kept]
        if bonus is not None:
            bonuses = bonuses[own, kept]
        # A search goes on while its best open hypothesis, if it ended here, would be among the finished ones.
        worst = [found[picture][-1].score if len(found[picture]) == beams else NEVER for picture in going]
        on = np.flatnonzero(scores[:, 0] / power > np.array(worst, np.float32))
        if not len(on):
            return found
        parents = own * width + origin[own, kept]
        sequences = candidates[own, kept]
        if len(on) < len(going):
            parents, sequences, scores, going = parents[on], sequences[on], scores[on], going[on]
            bonuses = bonuses if bonus is None else bonuses[on]
            state = engine.select(state, parents.ravel(), on)
        else:
            state = engine.select(state, parents.ravel())


def ban(logarithms: NDArray[np.float32], sequences: NDArray[np.int64], options: SearchOptions) -> None:
    """Set to -inf, in place, the words (N, V) that may not follow the sequences (N, T), start tokens included."""
    length = sequences.shape[1]
    if options.suppress_tokens:
        logarithms[:, options.suppress_tokens] = -np.inf
    if length < options.min_length:
        logarithms[:, options.end] = -np.inf
    size = options.no_repeat_ngram_size
    if size and length >= size:
        starts = length - size + 1  # of n-grams, the last of which is to be completed by the next word
        repeats = np.ones((len(sequences), starts), bool)
        for place in range(size - 1):
            repeats &= sequences[:, place : place + starts] == sequences[:, starts + place, None]
        row, start = np.nonzero(repeats)
        logarithms[row, sequences[row, start + size - 1]] = -np.inf
    if options.wording is not None:
        options.wording.ban(logarithms, sequences)


def _largest(values: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return the places of each row's `count` largest values, the largest first; of all if a row has fewer."""
    rows, width = values.shape
    groups = width // _IN_GROUP
    if groups <= count:
        return np.argsort(-values, 1, kind="stable")[:, :count]
    # A group is every `groups`-th value. The largest values lie in the groups with the largest maxima.
    grouped = values[:, : groups * _IN_GROUP].reshape(rows, _IN_GROUP, groups)
    best = np.argpartition(grouped.max(1), groups - count, 1)[:, None, groups - count :]
    places = (best + groups * np.arange(_IN_GROUP)[:, None]).reshape(rows, -1)
    rest = np.arange(groups * _IN_GROUP, width)  # belong to no group
    places = np.concatenate((places, np.broadcast_to(rest, (rows, len(rest)))), 1)
    own = np.arange(rows)[:, None]
    return np.asarray(places[own, np.argsort(-values[own, places], 1, kind="stable")[:, :count]])
