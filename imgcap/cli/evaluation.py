"""`imgcap evaluate` and `imgcap calibrate-confidence`: score captions, and calibrate their confidence."""

import json
from pathlib import Path
from typing import Annotated

import typer

from imgcap.cli.options import AsJson, DataSource
from imgcap.data import FLICKR8K
from imgcap.errors import InputError


def evaluate(
    model: Annotated[str, typer.Option(help="Folder or Hub id of the captioner; by default the app's.")] = "",
    data: DataSource = FLICKR8K,
    split: Annotated[str, typer.Option(help="train, validation or test")] = "validation",
    limit: Annotated[int | None, typer.Option(min=1, help="Use only this many images, the first of the split.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write an HTML page with the best, median and worst captions and the mistakes.")
    ] = None,
    card: Annotated[
        bool, typer.Option("--card", help="Write scores and mistakes into the captioner's folder and its card.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Score a captioner: BLEU, METEOR, ROUGE-L and CIDEr-D, with 95% bootstrap intervals."""
    from imgcap.evaluation.run import evaluate as run
    from imgcap.hub.card import write_card
    from imgcap.settings import get_settings

    name = model or get_settings().model
    if card and (split != "validation" or limit or not (Path(name) / "README.md").is_file()):
        raise InputError("--card needs a captioner's folder with a card, and the whole validation split.")
    result = run(name, data, split, limit, report, Path(name) if card else None)
    if card:
        write_card(Path(name))
    if as_json:
        typer.echo(json.dumps(result))
        return
    typer.echo(f"{result['model']}, {result['split']}, {result['n']} {'image' if result['n'] == 1 else 'images'}")
    for name, interval in result["intervals"].items():
        if result[name] is None:
            typer.echo(f"{name:8} needs Java")
        else:
            bounds = f"  [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
            typer.echo(f"{name:8} {result[name]:.3f}{bounds}")


def calibrate_confidence(
    model: Annotated[Path, typer.Option(help="Folder of the captioner; its config.json is updated.")],
    data: DataSource = FLICKR8K,
) -> None:
    """Fit the files that a captioner keeps beside its weights, and print as JSON how reliable its confidence is.

    Document frequencies and a prediction of n-grams for its choice of caption, and bounds of familiar images, come from
    the training split, confidences from the validation split.
    """
    from imgcap.data.loading import load_rows
    from imgcap.evaluation.calibration import calibrate_captioner
    from imgcap.hub.card import write_confidence

    if not (model / "config.json").is_file():
        raise InputError(f"There is no captioner in the folder {str(model)!r}: give one that train.py wrote.")
    report = calibrate_captioner(model, load_rows(data, "train"), load_rows(data, "validation"))
    write_confidence(model, report)
    typer.echo(json.dumps(report))
