import copy

import numpy as np
import pytest
import torch
from shapes import captioned_images

from imgcap.data import grids
from imgcap.data.augmentation import AugmentationConfig
from imgcap.data.collator import CaptionCollator
from imgcap.data.grids import cached_views
from imgcap.data.vocabulary import build_tokenizer
from imgcap.model import ImgcapConfig, ImgcapForImageCaptioning, ImgcapImageProcessor


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return ImgcapForImageCaptioning(
        ImgcapConfig(encoder="resnet18", vocab_size=8, hidden_size=16, num_attention_heads=2, image_size=64)
    )


@pytest.fixture
def collator():
    tokenizer = build_tokenizer(["a dog"], 1)
    return CaptionCollator(tokenizer, ImgcapImageProcessor(size={"height": 64, "width": 64}))


@pytest.fixture
def rows():
    return captioned_images(12)


def test_the_first_view_is_the_encoders_output_and_the_others_differ(tmp_path, model, collator, rows):
    plain, changed = cached_views(tmp_path, model, rows, collator, AugmentationConfig(), 2, batch_size=5)
    assert plain.shape == changed.shape == (12, 4, 512)
    assert plain.dtype == np.float16
    assert collator.augment is None  # the caller's own stays as it was
    with torch.inference_mode():
        exact = model.eval().encoder(collator.pixels(rows.images[:12])).last_hidden_state.numpy()
    error = np.linalg.norm(plain.astype(np.float32) - exact) / np.linalg.norm(exact)
    assert error < 0.02  # bfloat16
    assert np.linalg.norm(changed.astype(np.float32) - exact) / np.linalg.norm(exact) > 0.05


@pytest.mark.parametrize("stages", [1, 2])
def test_the_last_stages_finish_what_is_cached_without_them(stages, tmp_path, model, collator, rows):
    features = cached_views(tmp_path, model, rows, collator, AugmentationConfig(), 1, stages=stages)[0]
    assert features.shape == (12, 512 >> stages, 2 << stages, 2 << stages)
    with torch.inference_mode():
        encoder = model.eval().encoder
        exact = encoder(collator.pixels(rows.images[:12])).last_hidden_state
        finished = encoder.finish(torch.from_numpy(features.astype(np.float32)), stages).last_hidden_state
    assert (finished - exact).norm() / exact.norm() < 0.02  # half precision in the cache, or bfloat16 in the encoder


def test_what_is_there_is_read_and_what_broke_off_is_made_anew(tmp_path, model, collator, rows, monkeypatch):
    made = cached_views(tmp_path, model, rows, collator, AugmentationConfig(), 2)
    first, second = sorted(tmp_path.glob("*.npy"))
    second.rename(second.with_suffix(".partial"))
    calls = []
    extract = grids._extract
    monkeypatch.setattr(grids, "_extract", lambda path, *rest: (calls.append(path), extract(path, *rest)))
    again = cached_views(tmp_path, model, rows, collator, AugmentationConfig(), 2)
    assert calls == [second]
    assert all(np.array_equal(one, two) for one, two in zip(made, again, strict=True))
    assert sorted(tmp_path.iterdir()) == [first, second]


def test_other_weights_images_or_augmentation_make_other_files(tmp_path, model, collator, rows):
    cached_views(tmp_path, model, rows, collator, AugmentationConfig(), 1)
    cached_views(tmp_path, model, rows, collator, AugmentationConfig(flip=0), 1)
    cached_views(tmp_path, model, captioned_images(5), collator, AugmentationConfig(), 1)
    cached_views(tmp_path, model, rows, collator, AugmentationConfig(), 1, stages=1)
    model = copy.deepcopy(model)
    with torch.no_grad():
        model.encoder.trunk.conv1.weight.add_(0.01)
    cached_views(tmp_path, model, rows, collator, AugmentationConfig(), 1)
    assert len(list(tmp_path.glob("*.npy"))) == 5


def test_trained_stages_do_not_change_the_names_of_their_input(tmp_path, model, collator, rows):
    cached_views(tmp_path, model, rows, collator, AugmentationConfig(), 1, stages=1)
    model = copy.deepcopy(model)
    with torch.no_grad():
        model.encoder.trunk.layer4[0].conv1.weight.add_(0.01)
    cached_views(tmp_path, model, rows, collator, AugmentationConfig(), 1, stages=1)
    assert len(list(tmp_path.glob("*.npy"))) == 1
