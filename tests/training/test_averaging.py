import pytest
import torch

from imgcap.errors import InputError
from imgcap.inference.checkpoint import load_captioner
from imgcap.model import ImgcapForImageCaptioning
from imgcap.training.averaging import average, interpolate


@pytest.fixture
def three(tiny_captioner, tmp_path):
    """Three checkpoints: weights w, w + 1 and w + 5, but for the encoder's, which are the same."""
    model, _ = load_captioner(str(tiny_captioner))
    folders = []
    for number, offset in enumerate((0, 1, 4)):
        with torch.no_grad():
            for parameter in model.decoder.parameters():
                parameter.add_(offset)
        model.encoder.trunk[0][1].num_batches_tracked.fill_(number)
        folders.append(tmp_path / f"checkpoint-{number}")
        model.save_pretrained(folders[-1])
    return folders


def test_the_average_is_the_mean_and_what_is_equal_stays_to_the_bit(tiny_captioner, three):
    first = load_captioner(str(tiny_captioner))[0].state_dict()
    mean = average(three)
    assert mean.keys() == first.keys()
    for name, tensor in mean.items():
        if name.startswith("decoder."):
            assert torch.allclose(tensor, first[name] + 2, atol=1e-6), name
        elif not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, first[name]), name
    assert mean["encoder.trunk.0.1.num_batches_tracked"] == 2


def test_the_average_fits_the_model(three):
    model = ImgcapForImageCaptioning.from_pretrained(three[0])
    model.load_state_dict(average(three))
    assert model.lm_head.weight is model.embedding.weight


def test_checkpoints_that_do_not_match_are_refused_in_a_sentence(tmp_path, three):
    with pytest.raises(InputError, match="There is no checkpoint to average"):
        average([])
    with pytest.raises(InputError, match=r"no checkpoint that can be read in .*nowhere"):
        average([three[0], tmp_path / "nowhere"])
    config = ImgcapForImageCaptioning.config_class.from_pretrained(three[0])
    for change in ({"vocab_size": config.vocab_size + 1}, {"decoder": "merge"}):
        other = ImgcapForImageCaptioning(config.__class__(**(config.to_dict() | change)))
        other.save_pretrained(tmp_path / "other")
        with pytest.raises(InputError, match=r"cannot be averaged: \S+ in .* is not as in .*other"):
            average([three[0], tmp_path / "other"])


def test_interpolated_weights_lie_on_the_line_between():
    ours = {"w": torch.tensor([0.0, 2.0]), "same": torch.tensor([0.1]), "steps": torch.tensor(3)}
    start = {"w": torch.tensor([4.0, 2.0]), "same": torch.tensor([0.1]), "steps": torch.tensor(9)}
    mixed = interpolate(ours, start, 0.25)
    assert torch.equal(mixed["w"], torch.tensor([1.0, 2.0]))
    assert torch.equal(mixed["same"], ours["same"])
    assert mixed["steps"] == 3
    assert torch.equal(interpolate(ours, start, 1.0)["w"], start["w"])


def test_weights_on_another_device_can_be_mixed_with_the_initial_ones():
    ours = {"w": torch.zeros(2, device="meta"), "steps": torch.tensor(3)}
    mixed = interpolate(ours, {"w": torch.ones(2), "steps": torch.tensor(9)}, 0.5)
    assert mixed["w"].device.type == "meta"
    assert mixed["steps"] == 3
