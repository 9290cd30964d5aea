"""Correct the biases of a quantised network for the rounding of its weights.

The errors of rounded weights, multiplied by the inputs, are added to a channel's output. After a ReLU no input is
negative, so these products do not average out: each channel is shifted, equally in every image. The errors multiplied
by the mean input are the mean shift, which is subtracted from the bias (Nagel et al., 2019, "Data-Free Quantization
Through Weight Equalization and Bias Correction", ICCV). It costs nothing when the network runs.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper

Floats = NDArray[np.float32]


def correct_biases(exact: Path, quantized: Path, inputs: Iterable[Mapping[str, Floats]]) -> None:
    """Rewrite a quantised graph with corrected biases of its convolutions.

    Args:
        exact: the float32 graph from which it was made.
        quantized: the graph with quantised weights and biases, each followed by a DequantizeLinear.
        inputs: inputs of the graph, at least one image, such as those that its ranges were measured on.
    """
    original, rounded = onnx.load(exact), onnx.load(quantized)
    convolutions = {node.name: node for node in original.graph.node if node.op_type == "Conv"}
    means = _mean_channels(original, [node.input[0] for node in convolutions.values()], inputs)
    weights = {tensor.name: tensor for tensor in original.graph.initializer}
    stored = {tensor.name: tensor for tensor in rounded.graph.initializer}
    sources = {output: node for node in rounded.graph.node for output in node.output}
    for node in rounded.graph.node:
        if node.op_type != "Conv" or len(node.input) < 3:  # without a bias there is nothing to correct
            continue
        convolution = convolutions[node.name]
        errors = _dequantize(sources[node.input[1]], stored) - numpy_helper.to_array(weights[convolution.input[1]])
        bias, scale, *_ = sources[node.input[2]].input
        shift = _mean_output(errors, means[convolution.input[0]]) / numpy_helper.to_array(stored[scale])
        corrected = numpy_helper.to_array(stored[bias]) - np.round(shift).astype(np.int32)
        stored[bias].CopyFrom(numpy_helper.from_array(corrected, bias))
    onnx.save(rounded, quantized)


def _mean_channels(
    model: onnx.ModelProto, names: Iterable[str], inputs: Iterable[Mapping[str, Floats]]
) -> dict[str, Floats]:
    """Return the mean of each channel of tensors (B, C, H, W) of a graph, (C,), over its inputs."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    given = {value.name for value in model.graph.input}
    inner = sorted(set(names) - given)
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    sums: dict[str, Any] = dict.fromkeys([*given, *inner], 0.0)
    count = 0
    for one in inputs:
        for name, tensor in [*one.items(), *zip(inner, session.run(inner, one), strict=True)]:
            sums[name] = sums[name] + tensor.mean((2, 3)).sum(0)
        count += len(next(iter(one.values())))
    return {name: total / count for name, total in sums.items()}


def _dequantize(node: onnx.NodeProto, stored: Mapping[str, onnx.TensorProto]) -> Floats:
    """Return the weights (out, in, h, w) that a DequantizeLinear with a scale for each output channel yields."""
    whole, scale, zero = (numpy_helper.to_array(stored[name]).astype(np.float32) for name in node.input)
    by_channel = (-1, *[1] * (whole.ndim - 1))
    return np.asarray((whole - zero.reshape(by_channel)) * scale.reshape(by_channel))


def _mean_output(weights: Floats, mean: Floats) -> Floats:
    """Return the mean output of a convolution, (out,): weights (out, in / groups, h, w), mean input (in,)."""
    outputs, width = weights.shape[:2]
    groups = len(mean) // width
    inputs = np.repeat(mean.reshape(groups, width), outputs // groups, axis=0)
    return np.asarray((weights.sum((2, 3)) * inputs).sum(1))
