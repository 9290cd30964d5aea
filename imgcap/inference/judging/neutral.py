"""Reword captions without naming a sex, such as "a person" for "a man", if the model is not sure which it sees.

The model's sureness comes from its probabilities at the position of the word: the sum over all words of that sex, as a
share of the sum over the words of both. `python -m benchmarks.neutral` measures how often captions are then wrong.
"""

import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from imgcap.inference.decoding.wording import DANGLING, with_articles
from imgcap.inference.engines.engine import Engine
from imgcap.inference.files import Vocabulary, pad

Naming = Literal["always", "sure", "never"]
SURE = 0.9
"""How sure the model must be for "sure" to name a sex."""

_MALE = {
    "man": "person", "men": "people", "boy": "child", "boys": "children", "guy": "person", "guys": "people",
    "gentleman": "person", "gentlemen": "people", "male": "person", "males": "people", "father": "parent",
    "fathers": "parents", "dad": "parent", "son": "child", "sons": "children", "brother": "sibling",
    "brothers": "siblings", "cowboy": "rider", "cowboys": "riders",
}  # fmt: skip
_FEMALE = {
    "woman": "person", "women": "people", "girl": "child", "girls": "children", "lady": "person", "ladies": "people",
    "female": "person", "females": "people", "mother": "parent", "mothers": "parents", "mom": "parent",
    "daughter": "child", "daughters": "children", "sister": "sibling", "sisters": "siblings", "cowgirl": "rider",
    "cowgirls": "riders",
}  # fmt: skip
_NEUTRAL = _MALE | _FEMALE
_SINGULAR = {word for word, neutral in _NEUTRAL.items() if neutral in {"person", "child"}}
_PLURAL = {word for word, neutral in _NEUTRAL.items() if neutral in {"people", "children"}}
_PRONOUNS = {"his": "their", "her": "their", "him": "them", "himself": "themselves", "herself": "themselves"}
# "her" becomes "them" and not "their" before an end or a word that begins another phrase.
_AFTER_THEM = DANGLING - {"a", "an", "the"} | {"."}
_WORD = re.compile(r"[A-Za-z]+(?:-[A-Za-z]+)*|\.")


def _pair(words: set[str], article: str) -> re.Pattern[str]:
    either = "|".join(sorted(words))
    return re.compile(rf"\b{article}({either}) and {article}({either})\b", re.IGNORECASE)


_TWO, _MANY = _pair(_SINGULAR, "(?:an? |one )?"), _pair(_PLURAL, "")


def names_sex(caption: str) -> bool:
    """Return whether `without_sex` can reword a caption: not with "he" or "she", nor "two men and a woman"."""
    words = set(_WORD.findall(caption.lower()))
    sexes = (not words.isdisjoint(_MALE)) + (not words.isdisjoint(_FEMALE))
    pair = _TWO.search(caption) or _MANY.search(caption)
    return words.isdisjoint({"he", "she"}) and (sexes == 1 or (sexes == 2 and pair is not None))


def without_sex(caption: str) -> str:
    """Return a caption that `names_sex` accepts in neutral words, with matching articles and pronouns.

    "A man and a woman" become "two people", a boy and a girl "two children".
    """
    caption = _TWO.sub(lambda match: f"two {_together(match)}", caption)
    caption = _MANY.sub(_together, caption)
    following = iter([*_WORD.findall(caption)[1:], "."])

    def swap(match: re.Match[str]) -> str:
        word, behind = match.group(), next(following)
        them = word.lower() == "her" and behind in _AFTER_THEM
        return "them" if them else (_NEUTRAL | _PRONOUNS).get(word.lower(), word)

    text = with_articles(_WORD.sub(swap, caption))
    return f"{text[:1].upper()}{text[1:]}"


def _together(match: re.Match[str]) -> str:
    young = all(_NEUTRAL[word.lower()] in {"child", "children"} for word in match.groups())
    return "children" if young else "people"


class SexWords:
    """The words of a vocabulary that name a sex."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        words = vocabulary.list_words()
        self._male, self._female = (
            np.array([place for place, word in enumerate(words) if word in nouns], np.int64)
            for nouns in (_MALE, _FEMALE)
        )
        self._all = np.concatenate([self._male, self._female])

    def sureness(
        self, engine: Engine[Any], grid: Any, tokens: Sequence[Sequence[Sequence[int]]], start: int
    ) -> list[NDArray[np.float64]]:
        """Return how sure the model is of each caption's sexes, as the lowest value if a caption names several.

        Args:
            engine: computes the probabilities.
            grid: (B, P, C) of that engine.
            tokens: the captions of each of the B images, without the start token.
            start: id of the start token.

        Returns:
            For each image one number from 0 to 1 per caption; 1 if the caption names no sex.
        """
        most = max(map(len, tokens))
        padded = pad([row for rows in tokens for row in (*rows, *[()] * (most - len(rows)))], -1)
        least = np.ones(len(padded))
        words, state = np.full(len(padded), start), engine.start(grid, most)
        for column in padded.T:
            logarithms, state = engine.step(words, state)
            either = np.exp(logarithms[:, self._all].astype(np.float64)).sum(1)
            for own in (self._male, self._female):
                named = np.isin(column, own)
                share = np.exp(logarithms[:, own].astype(np.float64)).sum(1) / np.maximum(either, 1e-30)
                least = np.where(named, np.minimum(least, share), least)
            words = np.where(column >= 0, column, start)
        return [least[i * most : i * most + len(own)] for i, own in enumerate(tokens)]
