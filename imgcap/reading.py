"""The answer about one image, which the page, the API, the command line and the history share."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from imgcap.errors import InputError

Length = Literal["short", "normal", "long"]
LENGTHS: tuple[Length, ...] = get_args(Length)

Reason = Literal["blurred", "shaken", "low_detail", "noisy", "dark", "bright"]
"""Why an image is invalid, see `imgcap.blur.sharpness`."""
REASONS: tuple[Reason, ...] = get_args(Reason)


@dataclass(frozen=True)
class Caption:
    """A sentence for an image, and how sure the captioner is."""

    caption: str
    confidence: float | None  # 0-1; None until the model is calibrated


@dataclass(frozen=True)
class Reading:
    """The answer about one image; `as_dict` is the JSON that every interface returns.

    source: the file or link as given.
    valid: exactly `blur_variance >= threshold`; None if the input held no image.
    reason: why the image is invalid, one of `REASONS`; None if it is valid.
    blur_variance: variance of the Laplacian, see `imgcap.blur.sharpness`.
    threshold: the smallest variance of a valid image.
    caption: a sentence; None if the image is invalid or was only checked.
    confidence: the share of captions like this one that say what people say, 0-1; None until the model is calibrated.
    alternatives: captions that differ from `caption` in content, the most probable first.
    error: one sentence on what was wrong with the input, or None.
    warning: "unfamiliar" if the image does not look like the photographs that the model learned from; else None.
    """

    source: str | None
    valid: bool | None
    reason: Reason | None
    blur_variance: float | None
    threshold: float
    caption: str | None = None
    confidence: float | None = None
    alternatives: tuple[Caption, ...] = ()
    error: str | None = None
    warning: Literal["unfamiliar"] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields in their order, as JSON types."""
        return asdict(self) | {"alternatives": [asdict(alternative) for alternative in self.alternatives]}


UNFAMILIAR = (
    "This does not look like the photographs this model learned from; the caption is likely wrong.",
    "This does not look like the photographs this model learned from, so it is not described.",
)
"""The sentences about an unfamiliar image: with its caption, and without one if the settings refuse such images."""


def format_warning(warning: str | None, caption: str | None) -> str | None:
    """Return the sentence for a Reading's warning; None if it has no warning."""
    return None if warning is None else UNFAMILIAR[caption is None]


def format_confidence(confidence: float) -> str:
    """Return '72%' for .72; never 0% or 100%, since no caption is certain."""
    return f"{min(max(round(100 * confidence), 1), 99)}%"


def check_length(length: str) -> Length:
    """Return the length itself. Raises InputError, which names the choices, if it is not one of them."""
    for known in LENGTHS:
        if length == known:
            return known
    raise InputError(f"length must be {', '.join(LENGTHS[:-1])} or {LENGTHS[-1]}, not {length!r}.")
