import pytest
import torch
import torchvision
from safetensors.torch import save_file

from imgcap.errors import InputError
from imgcap.inference.checkpoint import load_captioner
from imgcap.model import ImgcapConfig, ImgcapForImageCaptioning
from imgcap.training.build import load_encoder_weights
from imgcap.training.provenance import provenance_text


def test_encoder_weights_come_from_a_file_in_torchvisions_layout(tmp_path):
    for name, first in (("resnet18", "conv1.weight"), ("vgg11", "features.0.weight")):
        network = torchvision.models.get_model(name, num_classes=3)
        config = ImgcapConfig(encoder=name, vocab_size=8, hidden_size=16, num_attention_heads=2)
        model = ImgcapForImageCaptioning(config)
        save_file(network.state_dict(), tmp_path / f"{name}.safetensors")
        load_encoder_weights(model, str(tmp_path / f"{name}.safetensors"))
        torch.save(network.state_dict(), tmp_path / f"{name}.pth")
        load_encoder_weights(model, str(tmp_path / f"{name}.pth"))
        assert torch.equal(next(model.encoder.parameters()), network.state_dict()[first])
    with pytest.raises(InputError, match="are not those of a vgg11"):
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
