"""Make the example photographs of the page from those in tests/samples: python -m scripts.example_pictures"""

from pathlib import Path

import numpy as np
from PIL import Image

from imgcap.blur.degradations import linear_motion

ROOT = Path(__file__).resolve().parents[1]
SAMPLES, EXAMPLES = ROOT / "tests" / "samples", ROOT / "imgcap" / "web" / "static" / "examples"


def main() -> None:
    """Write each image, small enough to be fetched at a click."""
    EXAMPLES.mkdir(exist_ok=True)
    pictures = {Path(name).stem: load(name) for name in ("camera.png", "astronaut.jpg", "coffee.jpg")}
    width, height = pictures["camera"].size
    pictures["camera"] = pictures["camera"].crop((0, height // 10, width * 9 // 10, height * 4 // 5))
    shaken = linear_motion(length=16, degrees=12)(np.asarray(pictures["camera"]), np.random.default_rng(0))
    pictures["blurred"] = Image.fromarray(shaken)
    for name, picture in pictures.items():
        picture.save(EXAMPLES / f"{name}.jpg", quality=82, optimize=True, progressive=True)


def load(name: str) -> Image.Image:
    """Return one of the sample images as RGB."""
    with Image.open(SAMPLES / name) as picture:
        return picture.convert("RGB")


if __name__ == "__main__":
    main()
