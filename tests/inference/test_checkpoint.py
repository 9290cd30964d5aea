import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from imgcap.errors import InputError
from imgcap.inference.checkpoint import load_captioner, save_captioner


def test_a_captioner_is_stored_in_half_and_comes_back_in_float32(tiny_captioner, tmp_path):
    model, processor = load_captioner(str(tiny_captioner))
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    assert not model.training
    save_captioner(tmp_path, model, processor)
    stored = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values() if tensor.ndim > 1} == {torch.float16}
    assert {tensor.dtype for tensor in stored.values() if tensor.ndim == 1} == {torch.float32}
    again, _ = load_captioner(str(tmp_path))
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name  # rounding twice changes nothing more


def test_how_it_writes_is_stored_too(tiny_captioner, tmp_path):
    model, processor = load_captioner(str(tiny_captioner))
    model.generation_config.num_beams = 4
    save_captioner(tmp_path, model, processor)
    assert load_captioner(str(tmp_path))[0].generation_config.num_beams == 4


@pytest.mark.parametrize("content", [None, "{}", '{"model_type": "bert"}', "no json"])
def test_what_is_no_captioner_is_refused_in_a_sentence(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match="No captioner can be loaded from"):
        load_captioner(str(tmp_path))


def test_damaged_weights_are_refused_in_a_sentence(tiny_captioner, tmp_path):
    model, processor = load_captioner(str(tiny_captioner))
    save_captioner(tmp_path, model, processor)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="No captioner can be loaded from"):
        load_captioner(str(tmp_path))


def lose(weights, name):
    del weights[name]


def spread_nan(weights, name):
    weights[name].view(-1)[-1] = torch.nan


def spread_infinity(weights, name):
    weights[name].view(-1)[0] = torch.inf


def reshape(weights, name):
    weights[name] = torch.cat([weights[name]] * 2)


@pytest.mark.parametrize("damage", [lose, spread_nan, spread_infinity, reshape])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
def test_a_checkpoint_with_a_broken_tensor_is_refused(tiny_captioner, tmp_path, damage, share):
    shutil.copytree(tiny_captioner, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    names = [name for name in sorted(weights) if weights[name].is_floating_point()]
    damage(weights, names[int(share * len(names))])
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=re.escape(repr(str(tmp_path)))):
        load_captioner(str(tmp_path))
