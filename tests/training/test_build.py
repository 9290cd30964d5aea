from imgcap.model import torchvision_ops  # noqa: F401, I001 - must come before torchvision

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from imgcap.errors import InputError
from imgcap.inference.checkpoint import load_captioner
from imgcap.model import ImgcapConfig, ImgcapForImageCaptioning
from imgcap.training.averaging import join_decoders
from imgcap.training.build import load_encoder_weights, renew_decoder
from imgcap.training.provenance import provenance_text


def test_encoder_weights_come_from_a_file_in_torchvisions_layout(tmp_path):
    for name, first in (("resnet18", "conv1.weight"), ("mobilenet_v3_small", "features.0.0.weight")):
        network = torchvision.models.get_model(name, num_classes=3)
        config = ImgcapConfig(encoder=name, vocab_size=8, hidden_size=16, num_attention_heads=2)
        model = ImgcapForImageCaptioning(config)
        save_file(network.state_dict(), tmp_path / f"{name}.safetensors")
        load_encoder_weights(model, str(tmp_path / f"{name}.safetensors"))
        torch.save(network.state_dict(), tmp_path / f"{name}.pth")
        load_encoder_weights(model, str(tmp_path / f"{name}.pth"))
        assert torch.equal(next(model.encoder.parameters()), network.state_dict()[first])
    with pytest.raises(InputError, match="are not those of a mobilenet_v3_small"):
        load_encoder_weights(model, str(tmp_path / "resnet18.safetensors"))
    with pytest.raises(InputError, match=r"one of .*IMAGENET1K_V1"):
        load_encoder_weights(model, "IMAGENET9")


def test_encoder_weights_come_from_another_captioner(tiny_captioner):
    other, _ = load_captioner(str(tiny_captioner))
    config = ImgcapConfig(encoder=other.config.encoder, decoder="merge", vocab_size=8, hidden_size=16)
    model = ImgcapForImageCaptioning(config)
    load_encoder_weights(model, str(tiny_captioner))
    assert f"taken from the checkpoint `{tiny_captioner.name}`" in provenance_text("", str(tiny_captioner))
    own, others = model.encoder.state_dict(), other.encoder.state_dict()
    assert all(torch.equal(own[name], others[name]) for name in own)


def test_a_new_decoder_shares_what_joined_decoders_share(tiny_captioner):
    old, new = (load_captioner(str(tiny_captioner))[0] for _ in range(2))
    torch.manual_seed(1)
    renew_decoder(new)
    before, after = old.state_dict(), new.state_dict()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    weights = {name for name in before if name.startswith("decoder.") and name.endswith(("weight", "weight_ih"))}
    # Layer normalisation begins as the identity, as in the old random captioner.
    assert changed >= {name for name in weights if "project" not in name and "norm" not in name}
    assert all(name.startswith("decoder.") and "project" not in name for name in changed)
    assert join_decoders([old, new]).config.decoders == 2
