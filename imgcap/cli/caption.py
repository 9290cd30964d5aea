"""`imgcap caption`: captions for single images."""

import json
from typing import Annotated

import typer

from imgcap.cli.options import AsJson
from imgcap.reading import Reading, check_length, format_confidence, format_warning

_VERDICTS = {
    "blurred": "too blurred to describe",
    "shaken": "too shaken to describe",
    "low_detail": "too little detail to judge",
    "noisy": "too much noise to judge",
    "dark": "too dark to judge",
    "bright": "too bright to judge",
}


def caption(
    sources: Annotated[list[str], typer.Argument(metavar="PATH_OR_URL", help="Images: files or links.")],
    as_json: AsJson = False,
    length: Annotated[str, typer.Option(help="short, normal or long")] = "normal",
    alternatives: Annotated[int, typer.Option(min=0, help="Other captions at most; 0 is fastest.")] = 3,
) -> None:
    """Caption images. An image that cannot be read is reported, the others are captioned; the exit status is then 1.

    Without --json, errors are written to standard error.
    """
    from imgcap.captioner import Captioner
    from imgcap.settings import get_settings

    check_length(length)
    captioner = Captioner(get_settings())
    failed = False
    for source in sources:
        reading = captioner.caption_source(source, length, alternatives if as_json else 0)
        failed = failed or reading.error is not None
        if as_json:
            typer.echo(json.dumps(reading.as_dict()))
        else:
            typer.echo(format_reading(reading), err=reading.error is not None)
    raise typer.Exit(int(failed))


def _printable(name: str) -> str:
    """Return a file's name on one line, with characters that a terminal would obey, or cannot print, escaped."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "backslashreplace").decode() for one in name
    )


def format_reading(reading: Reading) -> str:
    """Return a Reading as one line for people."""
    from imgcap.blur.sharpness import format_variance

    source = _printable(reading.source or "")
    if reading.error is not None or reading.blur_variance is None:
        return f"{source}: {reading.error}"
    measured = f"variance {format_variance(reading.blur_variance)}, threshold {format_variance(reading.threshold)}"
    if reading.valid:
        warning = format_warning(reading.warning, reading.caption)
        if reading.caption is None and warning is not None:
            return f"{source}: {warning} ({measured})"
        confidence = "" if reading.confidence is None else f"{format_confidence(reading.confidence)} sure, "
        described = f"{source}: {reading.caption} ({confidence}{measured})"
        return described if warning is None else f"{described} {warning}"
    verdict = _VERDICTS[reading.reason or "blurred"]
    return f"{source}: {verdict} ({measured})"
