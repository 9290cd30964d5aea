"""`imgcap export`: ONNX files of a captioner, for serving on CPUs."""

import json
from pathlib import Path
from typing import Annotated

import typer

from imgcap.errors import InputError


def export(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Folder of the captioner; the files go into its subfolder onnx.")
    ],
    calibrate: Annotated[
        str, typer.Option(help="Folder or Hub id of the data set whose training images set the int8 ranges.")
    ] = "",
    check: Annotated[
        str, typer.Option(help="Folder or Hub id of the data set on whose validation images the files are tried.")
    ] = "",
    pictures: Annotated[int, typer.Option(min=1, help="Validation images to try them on.")] = 400,
    int8_only: Annotated[
        bool, typer.Option("--int8-only", help="Keep the int8 files alone; needs --calibrate.")
    ] = False,
) -> None:
    """Export a captioner to ONNX: float32 files, and int8 files if a data set for their calibration is given.

    With --check, prints as JSON the CIDEr-D of the PyTorch model and of the files, and keeps it in onnx/export.json and
    in the model card.
    """
    from imgcap.data.loading import load_rows
    from imgcap.evaluation.engines import compare_engines, rgb
    from imgcap.hub.card import write_card
    from imgcap.inference.engines.export import CALIBRATION_PICTURES
    from imgcap.inference.engines.export import export as run
    from imgcap.inference.engines.manifest import add_check, keep_only
    from imgcap.inference.engines.onnx_engine import GRAPHS, file_name

    if int8_only and not calibrate:
        raise InputError("int8 files need training images: give --calibrate too.")
    images = []
    if calibrate:
        training = load_rows(calibrate, "train")
        count = min(CALIBRATION_PICTURES, len(training))
        images = [rgb(training.images[place * len(training) // count]) for place in range(count)]
    target = run(model, images)
    for path in sorted(target.glob("*.onnx")):
        typer.echo(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    if check:
        result = compare_engines(model, load_rows(check, "validation", pictures))
        add_check(target, result)
        typer.echo(json.dumps(result))
        if (model / "scores.json").is_file():
            write_card(model)
    if int8_only:
        keep_only(target, [file_name(graph, quantized=True) for graph in GRAPHS])
