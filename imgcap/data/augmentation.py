"""Random changes of training images."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # so that reading a recipe does not import torch
    from torchvision.transforms import v2


@dataclass(frozen=True)
class AugmentationConfig:
    """The random changes of a training image; zero switches one off."""

    size: float = 0.3  # a random crop keeps at least 1 - size of the image's area
    flip: float = 0.5  # probability of a mirror image
    rotation: float = 5.0  # degrees, either way
    brightness: float = 0.2  # factors of torchvision's ColorJitter
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.0
    perspective: float = 0.15  # distortion scale, applied to one image in three


def augmentation(config: AugmentationConfig, size: int) -> "v2.Compose":
    """Return a transform that changes size, orientation, perspective and colour.

    It takes (3, H, W) uint8 and gives (3, size, size) uint8.

    Args:
        config: strength of each change.
        size: side of the result, in pixels.
    """
    from imgcap.model import torchvision_ops  # noqa: F401, I001 - must come before torchvision
    import torch
    from torchvision.transforms import v2

    steps: list[torch.nn.Module] = []
    if config.size:
        steps.append(v2.RandomResizedCrop(size, scale=(1 - config.size, 1.0), ratio=(0.85, 1.18), antialias=True))
    else:
        steps.append(v2.Resize((size, size), antialias=True))
    if config.flip:
        steps.append(v2.RandomHorizontalFlip(config.flip))
    if config.rotation:
        steps.append(v2.RandomApply([v2.RandomRotation(config.rotation, v2.InterpolationMode.BILINEAR)], p=0.5))
    if config.perspective:
        steps.append(v2.RandomPerspective(config.perspective, p=0.33))
    if config.brightness or config.contrast or config.saturation or config.hue:
        steps.append(v2.ColorJitter(config.brightness, config.contrast, config.saturation, config.hue))
    return v2.Compose(steps)
