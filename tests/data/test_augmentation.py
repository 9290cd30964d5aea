import pytest
import torch

from imgcap.data.augmentation import AugmentationConfig, augmentation

OFF = {"size": 0, "flip": 0, "rotation": 0, "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, "perspective": 0}


@pytest.mark.parametrize("name", OFF)
def test_every_augmentation_changes_the_picture_and_can_be_switched_off(name):
    picture = torch.randint(0, 256, (3, 40, 60), dtype=torch.uint8)
    plain = augmentation(AugmentationConfig(**OFF), 32)
    assert torch.equal(plain(picture), plain(picture))
    strength = {"flip": 1.0, "rotation": 30.0, "size": 0.8}.get(name, 0.4)
    changing = augmentation(AugmentationConfig(**(OFF | {name: strength})), 32)
    torch.manual_seed(0)
    changed = [changing(picture) for _ in range(8)]
    assert all(result.shape == (3, 32, 32) and result.dtype == torch.uint8 for result in changed)
    assert any(not torch.equal(result, plain(picture)) for result in changed)
