"""Rules of wording for every caption of any length: no repeated content word, no cut-off end.

`WordingRules` enforces them word by word inside a search, `well_formed` judges a finished caption, and `with_articles`
corrects the one mistake whose correction is certain, the wrong form of "a" or "an".
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

LEAST_WORDS = 3

_LOOSE = (
    "a an the and or of in on at to by for from with into onto through near next while as is are has have his her "
    "their its that who which"
)
_LITTLE = "but over up down out off was were be being he she it they there this some one group front"
_NUMERALS = "two three four five six seven eight nine ten 2 3 4 5 6 7 8 9"
_ENDING = re.compile(r"(?:(.)\1)?(?<=..)(?:ing|ed|es|s|e)$")
DANGLING = frozenset(_LOOSE.split())
"""Words that a complete caption cannot end with."""
FUNCTION_WORDS = DANGLING | frozenset(_LITTLE.split())
"""Words that say little about an image by themselves."""
REPEATABLE = FUNCTION_WORDS | frozenset(_NUMERALS.split())
"""Words that a caption may contain twice: "two men and two women"."""

_ARTICLE = re.compile(r"\b([Aa])(n?)( )([\w'-]+)")
# Words that are written with a vowel and spoken with a consonant ("a unicycle", "a one-armed man"), and the reverse.
_CONSONANT_SOUND = re.compile(
    r"(?:eu|ewe|one(?!r)|once|ouija|u(?:$|-|k|ni(?!d|m|n[^-])|s(?:a|e|u)|t(?:en|il|op)|r(?:an|in)))", re.IGNORECASE
)
_VOWEL_SOUND = re.compile(
    r"(?:hour|honest|honou?r|heir|x-?ray|8|11$|18$|(?:suv|lsu|smu|fbi|mba|nba|led)$)", re.IGNORECASE
)


def words_of(caption: str) -> list[str]:
    """Return the words of a caption as shown, in lower case and without its full stop."""
    return caption.lower().rstrip(".").split()


def stem(word: str) -> str:
    """Return the part of a word that its forms share: "run" for "runs" and "running"."""
    return _ENDING.sub(r"\1", word)


def content_words(caption: str) -> frozenset[str]:
    """Return the stems of the words that name something, or of all words if a caption has no such word."""
    words = frozenset(words_of(caption))
    return frozenset(map(stem, words - FUNCTION_WORDS or words))


def breaks_off(caption: str) -> bool:
    """Return whether a caption is empty or ends with a word that needs another one after it ("a man in a")."""
    words = words_of(caption)
    return not words or words[-1] in DANGLING


def repeats_itself(caption: str) -> bool:
    """Return whether a caption repeats a content word in any form, a trigram, or a word directly after itself."""
    words = words_of(caption)
    stems = [stem(word) for word in words if word not in REPEATABLE]
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return (
        len(set(stems)) < len(stems)
        or len(set(trigrams)) < len(trigrams)
        or any(first == second for first, second in pairwise(words))
    )


def well_formed(caption: str) -> bool:
    """Return whether a caption may be shown: at least three words, all known, no repetition, no cut-off end."""
    words = words_of(caption)
    return (
        len(words) >= LEAST_WORDS and "<unk>" not in words and not breaks_off(caption) and not repeats_itself(caption)
    )


def with_articles(caption: str) -> str:
    """Return a caption with "an" before vowel sounds and "a" before consonants; unclear cases stay unchanged."""
    return _ARTICLE.sub(_article, caption)


def _article(match: re.Match[str]) -> str:
    letter, n, space, word = match.groups()
    if _VOWEL_SOUND.match(word):
        n = "n"
    elif _CONSONANT_SOUND.match(word):
        n = ""
    elif word[0].lower() in "aeiou":
        n = "n"
    elif word.isalpha() and re.search("[aeiouy]", word[1:]):  # excludes abbreviations that are spelled out
        n = ""
    return f"{letter}{n}{space}{word}"


@dataclass(frozen=True, eq=False)
class WordingRules:
    """The rules above for one vocabulary, as the words that may not come next.

    vocabulary: the word of each id.
    special: ids that are not words (padding, start, end, unknown).
    end: id of the token that ends a caption.
    """

    vocabulary: Sequence[str]
    special: Collection[int]
    end: int

    @cached_property
    def _stems(self) -> NDArray[np.int64]:
        """(V,): the number of each word's stem, which may occur only once; 0 for words that may occur repeatedly."""
        numbers: dict[str, int] = {}
        special = set(self.special)
        return np.array([
            0 if place in special or word in REPEATABLE else numbers.setdefault(stem(word), len(numbers) + 1)
            for place, word in enumerate(self.vocabulary)
        ])  # fmt: skip

    @cached_property
    def _dangling(self) -> NDArray[np.bool_]:
        return np.array([word in DANGLING for word in self.vocabulary])

    @cached_property
    def _forms(self) -> NDArray[np.int64]:
        """(stems, most): the ids of the words with each stem, padded with -1; stem 0 has only padding."""
        counts = np.bincount(self._stems)
        forms = np.full((len(counts), max(counts[1:], default=1)), -1)
        for number in range(1, len(counts)):
            forms[number, : counts[number]] = np.flatnonzero(self._stems == number)
        return forms

    def ban(self, logarithms: NDArray[np.float32], sequences: NDArray[np.int64]) -> None:
        """Set to -inf, in place, the words (N, V) that may not follow the sequences (N, T), which have start tokens."""
        rows, length = sequences.shape
        last = sequences[:, -1]
        forms = self._forms[self._stems[sequences]].reshape(rows, -1)
        # The last word, which may not follow itself, takes the place of the padding.
        logarithms[np.arange(rows)[:, None], np.where(forms < 0, last[:, None], forms)] = -np.inf
        logarithms[self._dangling[last], self.end] = -np.inf
        if length <= LEAST_WORDS:
            logarithms[:, self.end] = -np.inf
