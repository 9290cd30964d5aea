"""The command line: `python -m imgcap COMMAND`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from imgcap.blur.calibration import calibrate
from imgcap.blur.sharpness import format_variance
from imgcap.cli.accounts import user_app
from imgcap.errors import InputError
from imgcap.reading import check_length, format_confidence

app = typer.Typer(
    name="imgcap", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False,
    help="A caption for a sharp photograph, a plain refusal for a blurred one.",
)  # fmt: skip

app.add_typer(user_app)
app.command()(calibrate)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]


@app.command()
def caption(
    sources: Annotated[list[str], typer.Argument(metavar="PATH_OR_URL...", help="Pictures: files or links.")],
    as_json: AsJson = False,
    length: Annotated[str, typer.Option(help="short, normal or long")] = "normal",
) -> None:
    """Caption pictures. A bad one is reported and the rest go on; the exit status is then 1."""
    from imgcap.captioner import Captioner
    from imgcap.settings import get_settings

    captioner = Captioner(get_settings())
    check_length(length)
    failed = False
    for source in sources:
        reading = captioner.caption_source(source, length)
        failed = failed or reading.error is not None
        typer.echo(json.dumps(reading.as_dict()) if as_json else _in_words(reading.as_dict()))
    raise typer.Exit(int(failed))


def _in_words(reading: dict[str, Any]) -> str:
    source = reading["source"]
    if reading["error"]:
        return f"{source}: {reading['error']}"
    measured = (
        f"variance {format_variance(reading['blur_variance'])}, threshold {format_variance(reading['threshold'])}"
    )
    if reading["valid"]:
        confidence = reading["confidence"]
        sure = "" if confidence is None else f"{format_confidence(confidence)} sure, "
        return f"{source}: {reading['caption']} ({sure}{measured})"
    verdict = "too blurred to describe" if reading["reason"] == "blurred" else "too little detail to judge"
    return f"{source}: {verdict} ({measured})"


@app.command()
def evaluate(
    model: Annotated[str, typer.Option(help="Folder or Hub id of the captioner; default: the app's own.")] = "",
    data: Annotated[str, typer.Option(help="Folder or Hub id of the data set.")] = "jxie/flickr8k",
    split: Annotated[str, typer.Option(help="train, validation or test")] = "validation",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many pictures.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write an HTML page of the best, median and worst pictures and the mistakes.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score a captioner: BLEU, METEOR, ROUGE-L and CIDEr-D, with 95% bootstrap intervals."""
    from imgcap.evaluation.run import evaluate as run
    from imgcap.settings import get_settings

    result = run(model or get_settings().model, data, split, limit, report)
    if as_json:
        typer.echo(json.dumps(result))
        return
    typer.echo(f"{result['model']}, {result['split']}, {result['n']} pictures")
    for name, (low, high) in ((name, interval or (None, None)) for name, interval in result["intervals"].items()):
        value = "needs Java" if result[name] is None else f"{result[name]:.3f}"
        typer.echo(f"{name:8} {value}" + ("" if low is None else f"  [{low:.3f}, {high:.3f}]"))


@app.command()
def calibrate_confidence(
    model: Annotated[Path, typer.Option(help="Folder of the captioner; its config.json is updated.")],
    data: Annotated[str, typer.Option(help="Folder or Hub id of the data set.")] = "jxie/flickr8k",
) -> None:
    """Calibrate a captioner's confidence on the validation split; prints as JSON how reliable it is."""
    from imgcap.evaluation.confidence import calibrate_captioner
    from imgcap.evaluation.run import caption_split
    from imgcap.hub.card import write_confidence

    if not (model / "config.json").is_file():
        raise InputError(f"There is no captioner in the folder {str(model)!r}: give one that train.py wrote.")
    report = calibrate_captioner(model, *caption_split(str(model), data, "validation"))
    write_confidence(model, report)
    typer.echo(json.dumps(report))


def main() -> None:
    """Run a command; what a user did wrong is said in one sentence, exit status 2."""
    try:
        app()
    except InputError as error:
        typer.echo(str(error), err=True)
        raise SystemExit(2) from None
