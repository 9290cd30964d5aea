"""Options of the beam search, and the form in which captions are shown."""

from typing import Any

from transformers import GenerationConfig


def as_sentence(text: str) -> str:
    """Return 'A dog runs.' for 'a dog runs'; an empty text stays empty."""
    text = " ".join(text.split()).rstrip(" .")
    return f"{text[0].upper()}{text[1:]}." if text else ""


def generation_options(length: str, default: GenerationConfig) -> dict[str, Any]:
    """Return the arguments of `generate` for a caption of a length, with every beam returned.

    length: "short", "normal" (the model's generation configuration) or "long". Beam search divides a caption's
    log-probability by its number of words to the power of length_penalty, so a negative power favours short captions
    and a large one long.
    """
    beams = default.num_beams
    options: dict[str, Any] = {"num_return_sequences": beams}
    if length == "short":
        options["length_penalty"] = -1.0
    elif length == "long":
        options |= {"length_penalty": 2.0, "min_length": 14, "max_length": default.max_length + 8}
    return options
