"""The model and its inputs are placed by one function; the `meta` device stands for a GPU here."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from shapes import captioned_images
from transformers.modeling_outputs import BaseModelOutput

from imgcap.data import grids
from imgcap.data.augmentation import AugmentationConfig
from imgcap.data.collator import CaptionCollator
from imgcap.evaluation import run
from imgcap.inference.checkpoint import load_captioner
from imgcap.inference.engines.device import device, multiplies_bfloat16
from imgcap.inference.engines.engine import Encoding

META = torch.device("meta")


@pytest.mark.parametrize("present", [True, False])
def test_a_gpu_is_used_if_there_is_one(present, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: present)
    assert device().type == ("cuda" if present else "cpu")


@pytest.mark.parametrize("able", [True, False])
def test_bfloat16_is_for_devices_that_multiply_it(able, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": False, "avx512_bf16": able})
    assert multiplies_bfloat16(torch.device("cpu")) == able
    assert multiplies_bfloat16(torch.device("cuda"))


def test_the_model_goes_to_the_device_and_images_follow_it(tiny_captioner, monkeypatch):
    placed = []

    class Engine:
        def __init__(self, model, place):
            model.to(place)
            placed.append(place)

    class Writer:
        def __init__(self, engine, description):
            pass

        def search(self, encoding, length):
            placed.append(encoding.grid.device)
            return SimpleNamespace(beams=[[SimpleNamespace(text="A dog.", log_probability=-1.0)]] * len(encoding))

    def of_grid(grid, *pooled):  # features would be numbers, which this device has not
        assert {tensor.device for tensor in pooled} == {META}
        return Encoding(grid)

    fakes = {"device": lambda: META, "TorchEngine": Engine, "Writer": Writer, "encoding_of": of_grid}
    for name, fake in fakes.items():
        monkeypatch.setattr(run, name, fake)
    captioned = run.caption_split(str(tiny_captioner), captioned_images(3))
    assert placed == [META, META]
    assert captioned.captions == ["A dog."] * 3


def test_images_are_encoded_where_the_model_is_and_their_grids_come_back(tmp_path, tiny_captioner):
    model, processor = load_captioner(str(tiny_captioner))
    seen = []

    class Encoder(torch.nn.Module):
        channels = model.encoder.channels

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1, device=META))

        def stages(self, last):
            return torch.nn.Linear(1, 1), torch.nn.Sequential()

        def forward(self, pixels):
            seen.append(pixels.device)
            return BaseModelOutput(last_hidden_state=torch.ones(len(pixels), 4, self.channels))

    fake = SimpleNamespace(encoder=Encoder(), config=model.config, device=META)
    collator = CaptionCollator(processor.tokenizer, processor.image_processor)
    (made,) = grids.cached_views(tmp_path, fake, captioned_images(3), collator, AugmentationConfig(), 1)
    assert seen == [META]
    assert np.array_equal(made, np.ones((3, 4, model.encoder.channels)))
