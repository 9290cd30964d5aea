import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from torch import nn

from imgcap.inference.engines.bias_correction import correct_biases

PICTURES = 8


def run(path, inputs):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, one)[0] for one in inputs])


def quantize(exact, quantized, inputs):
    class Reader(CalibrationDataReader):
        def __init__(self):
            self.rest = iter(inputs)

        def get_next(self):
            return next(self.rest, None)

    quantize_static(
        exact, quantized, Reader(), activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, per_channel=True
    )


def export(network, path):
    torch.onnx.export(
        network.eval(), (torch.zeros(1, 8, 12, 12),), str(path), dynamo=False, input_names=["pixels"],
        dynamic_axes={"pixels": {0: "pictures"}},
    )  # fmt: skip


@pytest.fixture
def inputs():
    rng = np.random.default_rng(0)
    # As behind a ReLU: never negative, and each channel has its own mean.
    means = rng.uniform(0.5, 2, (1, 8, 1, 1))
    return [{"pixels": rng.exponential(means, (2, 8, 12, 12)).astype(np.float32)} for _ in range(PICTURES)]


@pytest.fixture
def networks(request, tmp_path, inputs):
    """Files of a network and of the same quantised; its weights are large beside a few, so that rounding hurts."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(8, 16, 3, groups=request.param), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU(), nn.Conv2d(16, 8, 3)
    )
    for layer in network[::2]:
        layer.weight.data[:, 0, 0, 0] = 4  # the scale becomes too coarse for the others
    exact, quantized = tmp_path / "exact.onnx", tmp_path / "quantized.onnx"
    export(network, exact)
    quantize(exact, quantized, inputs)
    return exact, quantized


@pytest.mark.parametrize("networks", [1, 4, 8], indirect=True)
def test_the_mean_output_comes_nearer_to_that_of_the_exact_network(networks, inputs):
    exact, quantized = networks
    expected, before = run(exact, inputs), run(quantized, inputs)
    correct_biases(exact, quantized, inputs)
    after = run(quantized, inputs)

    def shift(outputs):
        return np.linalg.norm((outputs - expected).mean((0, 2, 3)))

    assert shift(after) < 0.3 * shift(before)
    assert np.linalg.norm(after - expected) < 0.9 * np.linalg.norm(before - expected)


@pytest.mark.parametrize("networks", [1], indirect=True)
def test_only_the_biases_change(networks, inputs):
    exact, quantized = networks
    before = onnx.load(quantized)
    correct_biases(exact, quantized, inputs)
    after = onnx.load(quantized)
    assert [node.name for node in after.graph.node] == [node.name for node in before.graph.node]
    changed = {
        one.name
        for one, other in zip(after.graph.initializer, before.graph.initializer, strict=True)
        if one.SerializeToString() != other.SerializeToString()
    }
    assert len(changed) == 3
    assert all("bias" in name for name in changed)


def test_a_convolution_without_a_bias_stays_as_it_is(tmp_path, inputs):
    exact, quantized = tmp_path / "exact.onnx", tmp_path / "quantized.onnx"
    torch.manual_seed(0)
    export(nn.Sequential(nn.Conv2d(8, 4, 3, bias=False), nn.ReLU(), nn.Conv2d(4, 4, 1, bias=False)), exact)
    quantize(exact, quantized, inputs)
    before = run(quantized, inputs)
    correct_biases(exact, quantized, inputs)
    assert (run(quantized, inputs) == before).all()
