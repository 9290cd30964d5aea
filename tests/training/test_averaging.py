import copy

import pytest
import torch

from imgcap.errors import InputError
from imgcap.inference.checkpoint import load_captioner, save_captioner
from imgcap.model import ImgcapForImageCaptioning
from imgcap.training.averaging import average, interpolate, join_decoders


@pytest.fixture
def three(tiny_captioner, tmp_path):
    """Three checkpoints with weights w, w + 1 and w + 5 and the same encoder."""
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


@pytest.fixture
def two(tiny_captioner):
    """Two captioners that differ in what decoders do not share."""
    models = [load_captioner(str(tiny_captioner))[0] for _ in range(2)]
    with torch.no_grad():
        for name, parameter in models[1].decoder.named_parameters():
            if not name.startswith("project."):
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)), alpha=0.1)
    return models


def test_joined_decoders_average_what_each_says_alone(two, tiny_captioner, tmp_path):
    pixels = torch.randn(2, 3, 64, 64)
    ids = torch.randint(4, two[0].config.vocab_size, (4, 5))
    joint = join_decoders(two)
    assert joint.config.decoders == 2
    assert joint.config.confidence_slope is None  # it is another distribution
    apart = [model(pixel_values=pixels, decoder_input_ids=ids).logits.softmax(-1) for model in two]
    together = joint(pixel_values=pixels, decoder_input_ids=ids).logits.softmax(-1)
    assert torch.allclose(together, (apart[0] + apart[1]) / 2, atol=1e-6)
    four = join_decoders([joint, joint])
    assert four.config.decoders == 4
    assert torch.allclose(four(pixel_values=pixels, decoder_input_ids=ids).logits.softmax(-1), together, atol=1e-6)
    # Stored and loaded as any other captioner, and written with.
    save_captioner(tmp_path, joint, load_captioner(str(tiny_captioner))[1])
    again, processor = load_captioner(str(tmp_path))
    stored = again(pixel_values=pixels, decoder_input_ids=ids).logits.softmax(-1)
    assert torch.allclose(stored, together, atol=2e-3)  # half precision
    assert len(processor.sentences(again.generate(pixels, num_beams=3, num_return_sequences=3, max_length=8))) == 6


@pytest.mark.parametrize("name", ["embedding.weight", "decoder.project.weight", "lm_head.bias", "encoder"])
def test_decoders_that_were_trained_on_other_shared_weights_are_refused(name, two):
    with torch.no_grad():
        for key, tensor in two[1].state_dict().items():
            if key.startswith(name) and tensor.is_floating_point():
                tensor.add_(1)
    with pytest.raises(InputError, match=f"cannot be joined: their captioners differ in {name}"):
        join_decoders(two)


def test_decoders_of_another_kind_are_refused(two):
    config = copy.deepcopy(two[0].config)
    config.decoder = "merge"
    other = ImgcapForImageCaptioning(config)
    other.load_state_dict(two[0].state_dict(), strict=False)
    with pytest.raises(InputError, match="of different kinds or sizes"):
        join_decoders([two[0], other])
