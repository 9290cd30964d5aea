"""From the decoder's words to a caption that a person reads."""


def as_sentence(text: str) -> str:
    """'a dog runs' -> 'A dog runs.'; an empty text stays empty."""
    text = " ".join(text.split()).rstrip(" .")
    return f"{text[0].upper()}{text[1:]}." if text else ""
