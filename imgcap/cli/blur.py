"""`imgcap calibrate-blur`: the blur threshold from images."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from imgcap.cli.options import AsJson


def calibrate_blur(
    sharp: Annotated[Path | None, typer.Option(file_okay=False, exists=True, help="Folder of sharp images.")] = None,
    blurred: Annotated[
        Path | None, typer.Option(file_okay=False, exists=True, help="Folder of blurred images.")
    ] = None,
    synthesise: Annotated[
        Path | None, typer.Option(file_okay=False, exists=True, help="Folder of sharp images to blur synthetically.")
    ] = None,
    false_reject: Annotated[float, typer.Option(min=0, max=0.5, help="Share of sharp images to refuse.")] = 0.02,
    plot: Annotated[Path | None, typer.Option(dir_okay=False, help="Draw the ROC curve into this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find the blur threshold from images: ROC curve, AUC, and the threshold for a wanted share of false refusals."""
    from imgcap.blur.calibration import calibrate_folders, calibrate_synthetic, check_plot, plot_roc
    from imgcap.blur.calibration import report as format_calibration
    from imgcap.images.loading import ImageLoader
    from imgcap.settings import get_settings

    if plot is not None:
        check_plot(plot)
    images = ImageLoader(get_settings().image_limits)
    if synthesise is not None and sharp is None and blurred is None:
        result = calibrate_synthetic(synthesise, false_reject, images)
    elif synthesise is None and sharp is not None and blurred is not None:
        result = calibrate_folders(sharp, blurred, false_reject, images)
    else:
        raise typer.BadParameter("Give either --sharp and --blurred, or --synthesise.")
    if plot is not None:
        plot_roc(result, plot)
    typer.echo(json.dumps(asdict(result)) if as_json else format_calibration(result))
