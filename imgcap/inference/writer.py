"""Write captions for images: all steps from pixels to sentences, in order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgcap.inference.decoding.drawing import DrawingOptions, draw
from imgcap.inference.decoding.scoring import attend, score
from imgcap.inference.decoding.search import Bonus, Hypothesis, SearchOptions, beam_search
from imgcap.inference.decoding.wording import with_articles
from imgcap.inference.engines.engine import Encoding, Engine
from imgcap.inference.files import Description
from imgcap.inference.judging.alternatives import SAMPLES, SEED, TEMPERATURES, Candidate, choose_different
from imgcap.inference.judging.confidence import EXPECTED_CIDER, alternatives_curve
from imgcap.inference.judging.consensus import choose
from imgcap.inference.judging.expected_ngrams import MORE_BEAMS
from imgcap.inference.judging.neutral import SURE, Naming, SexWords, names_sex, without_sex
from imgcap.inference.preprocessing import preprocess
from imgcap.reading import Caption, Length


@dataclass(frozen=True)
class Draft:
    """Images with captions that still lack alternatives.

    encoding: of the B images.
    beams: candidates of the beam search for each image, the best first.
    options: options of that search.
    length: length of the captions.
    codes: (B, R), from which n-grams are predicted; None without a prediction.
    """

    encoding: Encoding
    beams: list[list[Candidate]]
    options: SearchOptions
    length: Length
    codes: NDArray[np.float32] | None = None


class Writer:
    """Writes captions with one engine. Any thread may call; more than `engine.lanes` at once gain nothing.

    Args:
        engine: the captioner's engine.
        description: the captioner's description.
        name_sex: whether captions say "a man" always, if the model is sure enough (`judging.neutral.SURE`), or never.
    """

    def __init__(self, engine: Engine[Any], description: Description, name_sex: Naming = "always") -> None:
        self.engine = engine
        self.description = description
        self._sex = None if name_sex == "always" else SexWords(description.vocabulary)
        self._surest = SURE if name_sex == "sure" else np.inf
        self._words = len(description.vocabulary.list_words())

    def warm(self) -> None:
        """Write one caption of a grey image, so that the first real one does not wait for any set-up."""
        side = self.description.preprocessing.side
        self.add_alternatives(self.write(self.prepare(np.full((side, side, 3), 128, np.uint8))[None], "normal"), 1)

    def prepare(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the encoder's input (3, S, S) for an image (H, W, 3), uint8 RGB. Any thread may call."""
        return np.asarray(preprocess([image], self.description.preprocessing)[0])

    def write(self, pixels: NDArray[np.float32], length: Length) -> Draft:
        """Write the captions of prepared images (B, 3, S, S)."""
        return self.search(self.engine.encode(pixels), length)

    def search(self, encoding: Encoding, length: Length) -> Draft:
        """Write the captions of encoded images."""
        grid = encoding.grid
        options = self.description.search.for_length(length)
        ngrams, codes, bonus = self.description.ngrams, None, None
        if ngrams is not None and encoding.features is not None:
            # The first words differ little among the best captions: more beams are of use only later.
            fewest = options.num_beams
            options = replace(options, num_beams=MORE_BEAMS * fewest, beams_at_first=fewest)
            codes = ngrams.encode(encoding.features)
            bonus = ngrams.bonus(codes, self._words)
        found = self._finish(grid, self._search(grid, options, bonus))
        rows = [None] * len(encoding) if codes is None else codes
        beams = [self._candidates(self._agree(own, code, options)) for own, code in zip(found, rows, strict=True)]
        first = self._reword(grid, self._expect(codes, [candidates[:1] for candidates in beams]))
        beams = [[*one, *rest[1:]] for one, rest in zip(first, beams, strict=True)]
        return Draft(encoding, beams, options, length, codes)

    def captions(self, draft: Draft) -> list[Caption]:
        """Return the caption of each image."""
        return [self._show(beams[0], draft.length, beams[0]) for beams in draft.beams]

    def are_unfamiliar(self, draft: Draft) -> list[bool]:
        """Return for each image whether it is unlike those that the captioner learned from; False if unknown."""
        familiar, features = self.description.familiar, draft.encoding.features
        if familiar is None or features is None:
            return [False] * len(draft.beams)
        return [bool(flag) for flag in familiar.are_unfamiliar(features.early)]

    def select(self, draft: Draft, pictures: Sequence[int]) -> Draft:
        """Return the draft of some of its images."""
        beams = [draft.beams[picture] for picture in pictures]
        codes = None if draft.codes is None else draft.codes[list(pictures)]
        return Draft(draft.encoding[pictures], beams, draft.options, draft.length, codes)

    def add_alternatives(self, draft: Draft, count: int) -> list[tuple[Caption, ...]]:
        """Return up to `count` other captions of each image that differ in content, the most probable first."""
        name = alternatives_curve(draft.length)
        found = zip(draft.beams, self.find_alternatives(draft, count), strict=True)
        return [tuple(self._show(other, name, beams[0]) for other in others) for beams, others in found]

    def find_alternatives(self, draft: Draft, count: int) -> list[list[Candidate]]:
        """Return the alternatives of `add_alternatives` as candidates, without confidences."""
        if not count:
            return [[] for _ in draft.beams]
        options = draft.options
        drawn = draw(self.engine, draft.encoding.grid, len(draft.beams), drawing_options(options))
        found = []
        for beams, draws in zip(draft.beams, drawn, strict=True):
            ended = [one for one in draws if one.tokens[-1] == options.end]
            found.append(choose_different([*beams, *self._candidates(ended)], count, options.length_penalty))
        reworded = self._reword(draft.encoding.grid, self._expect(draft.codes, found))
        shown = [{beams[0].text} for beams in draft.beams]
        return [
            [one for one in others if _is_new(one.text, texts)] for others, texts in zip(reworded, shown, strict=True)
        ]

    def attend(self, grid: Any, caption: str) -> list[tuple[str, NDArray[np.float32]]]:
        """Return each word of a caption of one image with its attention weights, (P,); [] without attention."""
        [ids] = self.description.vocabulary.encode([caption])
        looked = attend(self.engine, grid, ids, self.description.search.start)
        if looked is None:
            return []
        return [(self.description.vocabulary.words([[i]])[0], row) for i, row in zip(ids, looked, strict=True)]

    def _show(self, candidate: Candidate, name: str, shown: Candidate) -> Caption:
        curve = self.description.confidence.get(name)
        if curve is None:
            return Caption(candidate.text, None)
        own, other = (
            one.expected_cider if curve.of == EXPECTED_CIDER else one.log_probability for one in (candidate, shown)
        )
        known = None if own is None or other is None else curve.confidence(own, other)
        return Caption(candidate.text, known)

    def _search(self, grid: Any, options: SearchOptions, bonus: Bonus | None) -> list[list[Hypothesis]]:
        """Search for captions; if the rules leave an image without any, search again without them.

        A captioner with a few dozen words may have no sentence of fourteen words without a repetition.
        """
        found = beam_search(self.engine, grid, len(grid), options, bonus)
        without = [picture for picture, beams in enumerate(found) if not beams]
        if without:
            free = replace(options, min_length=2, no_repeat_ngram_size=0, wording=None)  # start token and a word
            own = None if bonus is None else bonus.select(without)
            again = beam_search(self.engine, grid[without], len(without), free, own)
            for picture, beams in zip(without, again, strict=True):
                found[picture] = beams
        return found

    def _finish(self, grid: Any, found: list[list[Hypothesis]]) -> list[list[Hypothesis]]:
        """Add the end token to captions that were cut off, and score them with it, as they will be shown."""
        end = self.description.search.end
        broken = [[(*one.tokens, end) for one in beams if one.tokens[-1] != end] for beams in found]
        if not any(broken):
            return found
        scores = score(self.engine, grid, broken, self.description.search.start)
        finished = []
        for beams, tokens, sums in zip(found, broken, scores, strict=True):
            ends = zip(tokens, sums.tolist(), strict=True)
            finished.append([one if one.tokens[-1] == end else _ended(one, *next(ends)) for one in beams])
        return finished

    def _agree(
        self, beams: list[Hypothesis], code: NDArray[np.float32] | None, options: SearchOptions
    ) -> list[Hypothesis]:
        """Put the caption with the most agreement first; without document frequencies the order stays.

        Args:
            beams: an image's captions.
            code: the image's latent code, from which its n-grams are predicted; None without a prediction.
            options: options of the search that found the captions.
        """
        scorer, ngrams = self.description.scorer, self.description.ngrams
        if scorer is None or len(beams) < 2:
            return beams
        lengths = [len(one.tokens) for one in beams]
        weighed = scorer.weigh_together([one.tokens[:-1] for one in beams])
        first = choose(
            scorer,
            weighed,
            [one.log_probability / length for one, length in zip(beams, lengths, strict=True)],
            [one.log_probability / length**options.length_penalty for one, length in zip(beams, lengths, strict=True)],
            by_ngrams=None if ngrams is None or code is None else ngrams.expected_cider(code, weighed),
        )
        return [beams[first], *beams[:first], *beams[first + 1 :]]

    def _expect(self, codes: NDArray[np.float32] | None, candidates: list[list[Candidate]]) -> list[list[Candidate]]:
        """Return the candidates of each image with the CIDEr-D that its predicted n-grams let expect."""
        scorer, ngrams = self.description.scorer, self.description.ngrams
        if codes is None or scorer is None or ngrams is None:
            return candidates
        expected = []
        for code, own in zip(codes, candidates, strict=True):
            tokens = self.description.vocabulary.encode([one.text for one in own])
            scores = ngrams.expected_cider(code, scorer.weigh_together(tokens)).tolist()
            expected.append([replace(one, expected_cider=value) for one, value in zip(own, scores, strict=True)])
        return expected

    def _reword(self, grid: Any, candidates: list[list[Candidate]]) -> list[list[Candidate]]:
        """Return the candidates of each image, reworded if they name a sex that the setting does not allow."""
        if self._sex is None:
            return candidates
        named = [[one for one in own if names_sex(one.text)] for own in candidates]
        if not any(named):
            return candidates
        tokens = [self.description.vocabulary.encode([one.text for one in own]) for own in named]
        sureness = self._sex.sureness(self.engine, grid, tokens, self.description.search.start)
        unsure = [
            {one.text for one, sure in zip(own, row, strict=True) if sure < self._surest}
            for own, row in zip(named, sureness, strict=True)
        ]
        return [
            [replace(one, text=without_sex(one.text)) if one.text in texts else one for one in own]
            for own, texts in zip(candidates, unsure, strict=True)
        ]

    def _candidates(self, hypotheses: Sequence[Hypothesis]) -> list[Candidate]:
        texts = self.description.vocabulary.sentences([one.tokens for one in hypotheses])
        return [
            Candidate(with_articles(text), one.log_probability / len(one.tokens))
            for text, one in zip(texts, hypotheses, strict=True)
        ]  # fmt: skip


def _is_new(text: str, seen: set[str]) -> bool:
    """Return whether a text is not in `seen`, and add it."""
    new = text not in seen
    seen.add(text)
    return new


def _ended(hypothesis: Hypothesis, tokens: tuple[int, ...], log_probability: float) -> Hypothesis:
    """Return a hypothesis with its end token; it keeps the score of the search."""
    return Hypothesis(tokens, hypothesis.score, log_probability)


def drawing_options(options: SearchOptions) -> DrawingOptions:
    """Return the options for drawing captions of the kind that a search with `options` finds."""
    return DrawingOptions(
        temperatures=tuple(np.repeat(TEMPERATURES, SAMPLES // len(TEMPERATURES)).tolist()),
        max_words=options.max_length - 1, min_words=max(options.min_length - 1, 0),
        suppress_tokens=options.suppress_tokens, start=options.start, end=options.end, seed=SEED,
    )  # fmt: skip
