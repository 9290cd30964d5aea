"""Write a captioner's ONNX files into its folder, for `imgcap export`.

The int8 encoder is quantised statically: the range of each activation is measured on training images, weights have one
scale per channel, and biases are corrected for the rounding of the weights. The int8 decoder is quantised dynamically:
the range of each activation is measured as it is computed, and its table of words has one scale per block of a row.
`export.json` names the checkpoint that the files were made from, and their digests, so that damaged files and files of
another checkpoint are noticed.
"""

import math
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from imgcap.errors import InputError
from imgcap.inference.checkpoint import load_captioner
from imgcap.inference.engines.graphs import EncoderGraph, decoder_graphs
from imgcap.inference.engines.manifest import FOLDER, fingerprint, write_manifest
from imgcap.inference.engines.onnx_engine import (
    DECODER_START,
    DECODER_STEP,
    ENCODER,
    ENCODER_OUTPUTS,
    GRAPHS,
    file_name,
)
from imgcap.inference.files import CONFIG, Description, describe
from imgcap.inference.preprocessing import preprocess
from imgcap.model import ImgcapForImageCaptioning

OPSET = 18
CALIBRATION_PICTURES = 128
TABLE_BLOCK = 128  # numbers in a row of a table that share a scale
LEAST_BLOCK = 16  # that the operator takes


def export(folder: Path, calibration: Sequence[NDArray[np.uint8]] = ()) -> Path:
    """Export the captioner in `folder` to its subfolder `onnx`.

    Args:
        folder: of a captioner.
        calibration: training images (H, W, 3), uint8 RGB; without any, only the float32 files are written.

    Returns:
        The folder of the files.

    Raises:
        InputError: there is no captioner in `folder`, or the packages for exporting are not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime.quantization  # noqa: F401
    except ImportError as error:
        raise InputError("Exporting needs the package onnx: pip install -r requirements-dev.txt.") from error
    if not (folder / CONFIG).is_file():
        raise InputError(f"There is no captioner in the folder {str(folder)!r}: give one that train.py wrote.")
    model, _ = load_captioner(str(folder))
    description = describe(folder, str(folder), fitted=False)
    target = folder / FOLDER
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target) as draft:
        write_graphs(Path(draft), model)
        if len(calibration):
            _quantize_encoder(Path(draft), description, calibration)
            _quantize_decoder(Path(draft))
        precisions = (False, True) if len(calibration) else (False,)
        written = [file_name(graph, quantized=quantized) for quantized in precisions for graph in GRAPHS]
        for old in target.glob("*.onnx"):
            old.unlink()
        for name in written:
            (Path(draft) / name).replace(target / name)
    write_manifest(target, fingerprint(folder), [target / name for name in written], len(calibration))
    return target


@torch.no_grad()
def write_graphs(draft: Path, model: ImgcapForImageCaptioning) -> None:
    """Write the three float32 graphs of a model in evaluation mode into a folder."""
    side = model.config.image_size
    encoder = EncoderGraph(model.encoder).eval()
    start, step = decoder_graphs(model)
    pixels = torch.zeros(2, 3, side, side)
    grid, *_ = encoder(pixels)
    memory = start(grid)
    words = torch.ones(2, 3, dtype=torch.long)
    hidden = torch.zeros(2, 3, sum(step.widths))
    outputs = ["log_probabilities", "next_hidden", *(["attention"] if step.looks else [])]
    pictures, rows = {0: "pictures"}, {0: "pictures", 1: "captions"}
    axes: dict[str, dict[int, str]] = dict.fromkeys(["pixel_values", *ENCODER_OUTPUTS], pictures)
    _write(draft, ENCODER, encoder, (pixels,), ["pixel_values"], [*ENCODER_OUTPUTS], axes)
    axes = {"grid": pictures, **dict.fromkeys(start.names, pictures)}
    _write(draft, DECODER_START, start, (grid,), ["grid"], start.names, axes)
    axes = {**dict.fromkeys(["words", "hidden", *outputs], rows), **dict.fromkeys(start.names, pictures)}
    _write(draft, DECODER_STEP, step, (words, hidden, *memory), ["words", "hidden", *start.names], outputs, axes)


def _write(
    draft: Path,
    graph: str,
    module: torch.nn.Module,
    example: tuple[torch.Tensor, ...],
    inputs: list[str],
    outputs: list[str],
    axes: dict[str, dict[int, str]],
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated; the new one needs onnxscript
        torch.onnx.export(
            module, example, str(draft / file_name(graph, quantized=False)), dynamo=False, opset_version=OPSET,
            input_names=inputs, output_names=outputs, dynamic_axes=axes,
        )  # fmt: skip


def _quantize_encoder(draft: Path, description: Description, pictures: Sequence[NDArray[np.uint8]]) -> None:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from imgcap.inference.engines.bias_correction import correct_biases

    def inputs() -> Iterator[dict[str, NDArray[np.float32]]]:
        return ({"pixel_values": preprocess([picture], description.preprocessing)} for picture in pictures)

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._inputs = inputs()

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(self._inputs, None)

    prepared, quantized = draft / "prepared.onnx", draft / file_name(ENCODER, quantized=True)
    quant_pre_process(str(draft / file_name(ENCODER, quantized=False)), str(prepared))
    quantize_static(
        str(prepared), str(quantized), Reader(), quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, per_channel=True,
        calibrate_method=CalibrationMethod.MinMax,
        # The mean of the images' extremes: the one image with the largest would cost all others precision.
        extra_options={"CalibMovingAverage": True},
    )  # fmt: skip
    correct_biases(prepared, quantized, inputs())


def _quantize_decoder(draft: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    for graph in (DECODER_START, DECODER_STEP):
        prepared = draft / "prepared.onnx"
        # Symbolic inference needs the number of captions per image, which is only known when the graph runs.
        quant_pre_process(str(draft / file_name(graph, quantized=False)), str(prepared), skip_symbolic_shape=True)
        quantize_dynamic(
            str(prepared), str(draft / file_name(graph, quantized=True)), weight_type=QuantType.QInt8,
            per_channel=True, op_types_to_quantize=["MatMul", "Gemm"],
        )  # fmt: skip
    _quantize_tables(draft / file_name(DECODER_STEP, quantized=True))


def _quantize_tables(path: Path) -> None:
    """Store the tables that rows are looked up in as int8, with a scale for each block of a row."""
    import onnx

    model = onnx.load(path)
    graph = model.graph
    tables = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    for node in graph.node:
        table = tables.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or len(table.dims) != 2:
            continue
        rows = onnx.numpy_helper.to_array(table)
        block = math.gcd(rows.shape[1], TABLE_BLOCK)
        if block < LEAST_BLOCK:
            continue
        blocks = rows.reshape(len(rows), -1, block)
        scales = np.maximum(np.abs(blocks).max(-1) / 127, np.finfo(np.float32).tiny)
        # The operator's zero is 128.
        rounded = (np.rint(blocks / scales[..., None]) + 128).astype(np.uint8).reshape(rows.shape)
        graph.initializer.remove(table)
        graph.initializer.extend(
            [
                onnx.numpy_helper.from_array(rounded, f"{table.name}_rows"),
                onnx.numpy_helper.from_array(scales, f"{table.name}_scales"),
            ]
        )
        node.CopyFrom(
            onnx.helper.make_node(
                "GatherBlockQuantized",
                [f"{table.name}_rows", node.input[1], f"{table.name}_scales"],
                node.output,
                node.name,
                domain="com.microsoft",
                bits=8,
                block_size=block,
                gather_axis=0,
                quantize_axis=1,
            )
        )
    onnx.save(model, path)
