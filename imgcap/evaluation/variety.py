"""Measure how varied captions are in comparison with people's: a captioner can be right but always say the same."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from imgcap.data.vocabulary import clean_caption
from imgcap.inference.decoding.wording import FUNCTION_WORDS

COMMONEST = 5  # templates that are counted as clichés


def template(caption: str) -> str:
    """Return a caption with its content words struck out: "a - in a - - is -"."""
    return " ".join(word if word in FUNCTION_WORDS else "-" for word in clean_caption(caption).split())


def variety(captions: Sequence[str]) -> dict[str, float]:
    """Return how varied captions of different images are.

    All four numbers depend on how many captions there are, so compare only lists of equal length.

    Args:
        captions: one for each image, at least one, raw text.

    Returns:
        "distinct", the share of different captions, 0-1; "words", the number of different words; "length", the mean
        number of words; "in_commonest_templates", the share of captions in the five commonest templates, 0-1.
    """
    words = [clean_caption(caption).split() for caption in captions]
    templates = Counter(map(template, captions))
    return {
        "distinct": len({tuple(row) for row in words}) / len(captions),
        "words": float(len({word for row in words for word in row})),
        "length": float(np.mean([len(row) for row in words])),
        "in_commonest_templates": sum(count for _, count in templates.most_common(COMMONEST)) / len(captions),
    }


def compare_variety(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, dict[str, float]]:
    """Return `variety` of a split's captions, and of people's captions of the same images.

    Args:
        captions: one for each image.
        references: references of each image, at least one.

    Returns:
        "captions", and "people": the mean over the first references of all images, the second ones, and so on.
    """
    people = [variety([row[i] for row in references]) for i in range(min(map(len, references)))]
    return {
        "captions": variety(captions),
        "people": {name: float(np.mean([one[name] for one in people])) for name in people[0]},
    }
