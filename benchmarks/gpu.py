"""Compare captions on a GPU with those on the CPU, and measure them: `python -m benchmarks.gpu --data DIR_OR_ID`.

- What the precision costs: CIDEr-D on validation images, and the share of captions that are equal to those of PyTorch
  in float32 on the CPU, for both precisions on the GPU. All with the same beam search.
- What a caption costs, by the clock and in turns: a bare ResNet50 forward on the GPU, our encoder, the search, and a
  caption with and without alternatives; then 16 images together, and 32 callers at the captioner, as it is configured
  and without predicted n-grams.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed import Table, add_ours, measure_callers
from imgcap.captioner import Captioner
from imgcap.data import FLICKR8K
from imgcap.settings import ROOT, Settings, get_settings


def compare(model: str, source: str, pictures: int) -> None:
    """Print the CIDEr-D of every engine, and how many captions are those of the CPU."""
    import torch

    from imgcap.data.loading import load_rows
    from imgcap.evaluation.engines import score_engines
    from imgcap.inference.checkpoint import load_captioner
    from imgcap.inference.engines.torch_engine import TorchEngine
    from imgcap.inference.files import describe

    rows = load_rows(source, "validation", pictures)
    places = [("cpu", torch.float32), ("cuda", torch.float32), ("cuda", torch.bfloat16)]
    engines = (TorchEngine(load_captioner(model)[0], *place) for place in places)
    scores = score_engines(((engine.description, engine) for engine in engines), describe(Path(model), model), rows)
    print(f"\n| {len(rows)} validation images | CIDEr-D | same captions |\n|---|---|---|")
    for name, cider, same in scores:
        print(f"| {name} | {cider:.3f} | {same:.0%} |", flush=True)


def add_forward(table: Table, images: int) -> str:
    """Add the bare forward of torchvision's ResNet50 in bfloat16 on the GPU, and return its name."""
    from imgcap.model import torchvision_ops  # noqa: F401, I001  must come before torchvision
    import torch
    from torchvision.models import resnet50

    trunk = torch.nn.Sequential(*list(resnet50().children())[:-2]).eval()
    trunk = trunk.to("cuda", torch.bfloat16, memory_format=torch.channels_last)
    pixels = torch.randn(images, 3, 224, 224).to("cuda", torch.bfloat16, memory_format=torch.channels_last)

    def forward() -> None:
        with torch.inference_mode():
            trunk(pixels)
        torch.cuda.synchronize()

    name = f"PyTorch ResNet50 forward, {images} together, bfloat16, cuda"
    table.add(name, forward, images)
    return name


def add_together(table: Table, captioner: Captioner, photo: Path, images: int = 16) -> None:
    """Add the encoding and the captions of many images at once."""
    writer: Any = captioner.load()
    batch = np.repeat(writer.prepare(captioner.images.decode(photo.read_bytes()))[None], images, 0)
    table.add(f"encode {images} together", lambda: writer.engine.encode(batch), images)
    table.add(f"caption {images} together", lambda: writer.captions(writer.write(batch, "normal")), images)


def main(model: str, photo: Path, source: str, pictures: int, rounds: int) -> None:
    """Print the tables."""
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("There is no CUDA device: this command compares one with the CPU.")
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}.")
    compare(model, source, pictures)
    captioner = Captioner(Settings(model=model, engine="torch"))
    table = Table(time.perf_counter)
    floor = add_forward(table, 1)
    add_ours(table, captioner, photo)
    add_forward(table, 16)
    add_together(table, captioner, photo)
    table.run(rounds)
    table.print([floor])
    measure_callers(captioner, photo, time.perf_counter)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path, nargs="?", default=ROOT / "tests" / "samples" / "coffee.jpg")
    parser.add_argument("--model", default=get_settings().model)
    parser.add_argument("--data", default=FLICKR8K)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    main(arguments.model, arguments.photo, arguments.data, arguments.pictures, arguments.rounds)
