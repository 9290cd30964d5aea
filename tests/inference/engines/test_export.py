import json
import shutil

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgcap.errors import InputError
from imgcap.inference.engines.choice import choose_precision
from imgcap.inference.engines.export import export
from imgcap.inference.engines.manifest import FOLDER, MANIFEST, check_manifest, keep_only
from imgcap.inference.engines.onnx_engine import GRAPHS, OnnxEngine, file_name
from imgcap.inference.files import describe

NAMES = [file_name(graph, quantized=quantized) for quantized in (False, True) for graph in GRAPHS]


@pytest.fixture
def folder(exported_captioner, tmp_path):
    """A copy of the exported captioner that a test may damage."""
    shutil.copytree(exported_captioner, tmp_path / "captioner")
    return tmp_path / "captioner"


def test_it_writes_both_precisions_under_the_hubs_names(exported_captioner):
    names = {path.name for path in (exported_captioner / FOLDER).iterdir()}
    assert names == {*NAMES, MANIFEST}
    assert "decoder_with_past_model_quantized.onnx" in names
    check_manifest(exported_captioner, NAMES)


def test_the_int8_encoder_is_smaller_and_near_the_float32_encoder(exported_captioner):
    sizes = [
        (exported_captioner / FOLDER / file_name(GRAPHS[0], quantized=quantized)).stat().st_size
        for quantized in (False, True)
    ]
    assert sizes[1] < 0.5 * sizes[0]
    pixels = np.random.default_rng(0).standard_normal((4, 3, 64, 64), np.float32)
    exact, rounded = (
        OnnxEngine(exported_captioner / FOLDER, quantized=quantized, threads=1).encode(pixels)
        for quantized in (False, True)
    )
    pairs = [(exact.grid, rounded.grid)]
    pairs += [(getattr(exact.features, name), getattr(rounded.features, name)) for name in ("grid", "early", "peaks")]
    for one, other in pairs:
        assert (one * other).sum() > 0.9 * np.linalg.norm(one) * np.linalg.norm(other)


def test_the_int8_decoder_is_smaller_and_near_the_float32_decoder(exported_captioner):
    for graph in GRAPHS[1:]:
        exact, rounded = (
            (exported_captioner / FOLDER / file_name(graph, quantized=quantized)).stat().st_size
            for quantized in (False, True)
        )
        assert rounded < exact
    exact, rounded = (
        OnnxEngine(exported_captioner / FOLDER, quantized=quantized, threads=1) for quantized in (False, True)
    )
    grid = exact.encode(np.random.default_rng(0).standard_normal((2, 3, 64, 64), np.float32)).grid
    states = [engine.start(grid, 3) for engine in (exact, rounded)]
    for words in np.random.default_rng(0).integers(0, 12, (4, 6)):
        found = [engine.step(words, state) for engine, state in zip((exact, rounded), states, strict=True)]
        states = [state for _, state in found]
        assert np.allclose(found[0][0], found[1][0], atol=0.2)


def test_tables_of_words_are_rounded_by_blocks(exported_captioner):
    step = {
        quantized: onnx.load(exported_captioner / FOLDER / file_name(GRAPHS[2], quantized=quantized))
        for quantized in (False, True)
    }
    [gather] = (node for node in step[True].graph.node if node.op_type == "GatherBlockQuantized")
    block = next(one.i for one in gather.attribute if one.name == "block_size")
    rows, scales = (
        onnx.numpy_helper.to_array(one)
        for name in (gather.input[0], gather.input[2])
        for one in step[True].graph.initializer
        if one.name == name
    )
    [exact] = (
        onnx.numpy_helper.to_array(one)
        for one in step[False].graph.initializer
        if one.dims[:] == list(rows.shape) and one.data_type == onnx.TensorProto.FLOAT
    )
    rounded = (rows.astype(np.float32) - 128) * scales.repeat(block, 1)
    assert (np.abs(rounded - exact) <= scales.repeat(block, 1) * 0.501).all()


def test_a_new_export_replaces_the_old_one_whole(folder):
    export(folder)
    assert {path.name for path in (folder / FOLDER).iterdir()} == {*NAMES[:3], MANIFEST}
    with pytest.raises(InputError, match=r"quantized\.onnx is missing"):
        check_manifest(folder, NAMES)


def test_files_that_are_not_kept_are_gone_from_the_folder_and_the_manifest(folder):
    keep_only(folder / FOLDER, NAMES[3:])
    assert {path.name for path in (folder / FOLDER).iterdir()} == {*NAMES[3:], MANIFEST}
    check_manifest(folder, NAMES[3:])
    assert choose_precision(folder)[0]
    with pytest.raises(InputError, match=r"encoder_model\.onnx is missing"):
        check_manifest(folder, NAMES)


def test_what_is_no_captioner_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(InputError, match="There is no captioner in the folder"):
        export(tmp_path)


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_any_damage_is_noticed(exported_captioner, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged") / "captioner"
    shutil.copytree(exported_captioner, folder)
    path = folder / FOLDER / data.draw(st.sampled_from(NAMES))
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= data.draw(st.integers(1, 255))
    else:
        del content[place:]
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{path.name} is damaged"):
        check_manifest(folder, NAMES)
    shutil.rmtree(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"source": 3}', '{"source": {}, "files": 1}'])
def test_a_damaged_manifest_is_noticed(folder, content):
    (folder / FOLDER / MANIFEST).write_text(content)
    with pytest.raises(InputError, match=r"export.json is damaged|another captioner"):
        check_manifest(folder, NAMES)


@pytest.mark.parametrize("change", ["weights", "words", "shape"])
def test_files_of_another_captioner_are_noticed(folder, change):
    if change == "weights":
        weights = folder / "model.safetensors"
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
    elif change == "words":
        path = folder / "tokenizer.json"
        path.write_text(path.read_text().replace("bicycle", "bicycles"))
    else:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"num_attention_heads": 2}))
    with pytest.raises(InputError, match="was exported from another captioner"):
        check_manifest(folder, NAMES)


def test_files_of_another_version_are_refused(folder):
    path = folder / FOLDER / MANIFEST
    fields = json.loads(path.read_text())
    del fields["layout"]  # as the first version wrote it
    path.write_text(json.dumps(fields))
    with pytest.raises(InputError, match="was exported by another version of imgcap"):
        check_manifest(folder, NAMES)


def test_a_new_calibration_of_confidence_needs_no_new_export(folder):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"confidence_slope": 9.0}))
    check_manifest(folder, NAMES)
    assert describe(folder, "")
    (folder / "model.safetensors").unlink()  # a folder that is only served from
    check_manifest(folder, NAMES)
