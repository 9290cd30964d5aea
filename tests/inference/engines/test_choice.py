import shutil

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from imgcap.errors import InputError
from imgcap.inference.engines import choice
from imgcap.inference.engines.manifest import FOLDER
from imgcap.inference.engines.onnx_engine import GRAPHS, OnnxEngine, file_name
from imgcap.inference.engines.torch_engine import TorchEngine
from imgcap.inference.files import describe


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    """Nothing here depends on the machine that it runs on."""
    monkeypatch.setattr(choice, "has_gpu", lambda: False)


@pytest.fixture
def folder(exported_captioner, tmp_path):
    shutil.copytree(exported_captioner, tmp_path / "captioner")
    return tmp_path / "captioner"


@pytest.fixture
def without(monkeypatch):
    """Make packages look as if they were not installed."""

    def hide(*packages):
        known = choice.is_installed
        monkeypatch.setattr(choice, "is_installed", lambda name: name not in packages and known(name))

    return hide


def open_engine(folder, wanted="auto"):
    return choice.open_engine(describe(folder, str(folder)), wanted, str(folder))


@pytest.mark.parametrize(("fast", "reason"), [(True, "multiplies int8"), (False, "slower, exact way")])
def test_exported_files_are_taken_in_int8_on_a_cpu(folder, monkeypatch, fast, reason):
    monkeypatch.setattr(choice, "multiplies_int8", lambda: fast)
    engine, why = open_engine(folder)
    assert isinstance(engine, OnnxEngine)
    assert engine.description.startswith("ONNX Runtime, int8")
    assert reason in why


def test_float32_files_serve_where_there_are_no_int8_files(folder):
    for path in (folder / FOLDER).glob("*_quantized.onnx"):
        path.unlink()
    engine, why = open_engine(folder)
    assert engine.description.startswith("ONNX Runtime, float32")
    assert "encoder_model_quantized.onnx is missing." in why


def test_pytorch_serves_where_the_files_do_not(folder):
    path = folder / FOLDER / "decoder_model_quantized.onnx"
    path.write_bytes(path.read_bytes()[:100])
    for float32 in ("encoder_model.onnx", "decoder_model.onnx"):
        (folder / FOLDER / float32).unlink()
    engine, why = open_engine(folder)
    assert isinstance(engine, TorchEngine)
    assert "decoder_model_quantized.onnx is damaged" in why
    shutil.rmtree(folder / FOLDER)
    engine, why = open_engine(folder)
    assert isinstance(engine, TorchEngine)
    assert "holds no exported model" in why


def test_whole_files_that_onnxruntime_refuses_leave_it_to_pytorch(folder, monkeypatch):
    monkeypatch.setattr(choice, "check_manifest", lambda *_: None)  # as files of a newer onnx would be
    for path in (folder / FOLDER).glob("*.onnx"):
        path.write_bytes(b"no graph")
    engine, why = open_engine(folder)
    assert isinstance(engine, TorchEngine)
    assert "does not load in this version of ONNX Runtime" in why


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("graph", GRAPHS)
def test_a_graph_with_a_weight_that_is_no_number_is_refused(folder, monkeypatch, graph, value):
    monkeypatch.setattr(choice, "check_manifest", lambda *_: None)  # as if it had been exported so
    path = folder / FOLDER / file_name(graph, quantized=True)
    model = onnx.load(path)
    floats = [one for one in model.graph.initializer if one.data_type == onnx.TensorProto.FLOAT and sum(one.dims) > 1]
    for weight in floats[:: max(1, len(floats) // 3)]:
        values = onnx.numpy_helper.to_array(weight).copy()
        kept, values.flat[-1] = weight.SerializeToString(), value
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        onnx.save(model, path)
        with pytest.raises(InputError, match="holds a weight that is not a finite number"):
            open_engine(folder, "onnx")
        weight.ParseFromString(kept)


def test_a_gpu_is_for_pytorch(folder, monkeypatch):
    monkeypatch.setattr(choice, "has_gpu", lambda: True)
    engine, why = open_engine(folder)
    assert isinstance(engine, TorchEngine)
    assert why == "There is a GPU."


def test_what_was_asked_for_is_taken_or_refused_in_a_sentence(folder, without):
    assert isinstance(open_engine(folder, "torch")[0], TorchEngine)
    assert isinstance(open_engine(folder, "onnx")[0], OnnxEngine)
    shutil.rmtree(folder / FOLDER)
    with pytest.raises(InputError, match=r"The ONNX engine cannot run: .* holds no exported model. Run `imgcap export"):
        open_engine(folder, "onnx")
    without("torch")
    with pytest.raises(InputError, match=r"PyTorch is not installed; run `pip install .imgcap.torch."):
        open_engine(folder, "torch")


def test_without_anything_to_run_it_says_what_to_install(folder, without):
    without("torch", "onnxruntime")
    with pytest.raises(InputError, match=r"onnxruntime is not installed .*, and PyTorch is not installed; run `pip"):
        open_engine(folder)


def test_without_onnxruntime_pytorch_serves(folder, without):
    without("onnxruntime")
    engine, why = open_engine(folder)
    assert isinstance(engine, TorchEngine)
    assert "onnxruntime is not installed" in why
