"""Write the provenance of a captioner's weights."""

from collections.abc import Sequence
from pathlib import Path

from imgcap.inference.files import find_folder


def provenance_text(
    init_from: str, encoder_weights: str, encoder_from: str = "", mix: Sequence[str] = (), join: Sequence[str] = ()
) -> str:
    """Return the provenance of the weights as Markdown: the text of the previous stage, if any, and one more sentence.

    If a file of encoder weights has a README.md beside it, its text is quoted, since a file's name says little.
    """
    if init_from:
        said = f"{_earlier(find_folder(init_from))}Then trained on from the checkpoint {_names([init_from])}"
        if encoder_from:
            said += f" with the encoder of {_names([encoder_from])}"
        if mix:
            said += f", averaged with the weights of {_names(mix)}"
        if join:
            said += f", joined with the decoders of {_names(join)}"
        return f"{said}.\n"
    weights = Path(encoder_weights)
    if weights.is_dir():
        return f"{_earlier(weights)}Then the encoder alone was taken from the checkpoint `{weights.name}`.\n"
    if encoder_weights == "none":
        return "Encoder: random weights, no ImageNet.\n"
    if not weights.is_file():
        return f"Encoder weights: torchvision's `{encoder_weights}`.\n"
    readme = weights.parent / "README.md"
    quoted = "".join(f"> {line}\n" for line in readme.read_text().splitlines()) if readme.is_file() else ""
    return f"Encoder weights: the file `{weights.name}`.\n\n{quoted}\n"


def _names(captioners: Sequence[str]) -> str:
    """Return the names of captioners: folders without their parents, others by their ids on the Hub."""
    return " and ".join(f"`{Path(source).name if Path(source).is_dir() else source}`" for source in captioners)


def _earlier(captioner: Path) -> str:
    path = captioner / "provenance.md"
    return path.read_text() if path.is_file() else ""
