"""Measure the cost of decoding: `python -m benchmarks.decoding [--megapixels 64]`.

A photograph of 500 x 375 pixels is decoded in this process and in the sandbox; then one large image of each kind is
decoded in a separate child, with processor time, wall time and peak address space. Other work on the machine disturbs
processor time least.
"""

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imgcap.images.pixels import to_rgb  # also registers HEIF for the encoder
from imgcap.images.sandbox import Child, Sandbox, memory_limit

KINDS: dict[str, dict[str, Any]] = {
    "JPEG": {"exif": 6},
    "JPEG, progressive": {"progressive": True},
    "PNG, RGBA": {"exif": 6, "compress_level": 1},
    "TIFF, float": {"compression": "tiff_lzw"},
    "WEBP": {"method": 0},
    "AVIF": {"speed": 10},
    "HEIF": {},
}


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """Return `picture` as a file; the option `exif` is the orientation."""
    if "exif" in options:
        exif = Image.Exif()
        exif[0x0112] = options["exif"]
        options["exif"] = exif.tobytes()
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def synthetic(megapixels: float, name: str) -> Image.Image:
    """Return blobs of colour as large as those in a photograph, in the ratio 4:3."""
    height = int((megapixels * 1e6 * 3 / 4) ** 0.5)
    noise = np.random.default_rng(0).integers(0, 255, (max(height // 20, 1), max(height // 15, 1), 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((height * 4 // 3, height), Image.Resampling.BICUBIC)
    return picture.convert({"PNG, RGBA": "RGBA", "TIFF, float": "F"}.get(name, "RGB"))


def processor_seconds(child: Child) -> float:
    """Return user and system time of all the child's threads, including its start (0.1 s)."""
    fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def peak_mib(child: Child) -> int:
    """Return the child's peak address space in MiB."""
    return int(Path(f"/proc/{child.pid}/status").read_text().split("VmPeak:")[1].split()[0]) // 1024


def median_ms(decode: Callable[[], object], repeats: int = 50) -> float:
    """Return the median time of a call in milliseconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        decode()
        times.append(time.perf_counter() - started)
    return float(np.median(times)) * 1e3


def small() -> None:
    """Print the time that the sandbox adds to one ordinary image."""
    data = encode(synthetic(0.1875, "JPEG"), "JPEG", quality=85)
    box = Sandbox(1)
    print(f"500 x 375 JPEG, in this process: {median_ms(lambda: to_rgb(data, 10**6)):.1f} ms")
    print(f"500 x 375 JPEG, in the sandbox:  {median_ms(lambda: box.decode(data, 10**6)):.1f} ms")


def large(megapixels: float) -> None:
    """Print how close the largest images come to the limits."""
    limit = int(megapixels * 1e6)
    print(f"\n{megapixels:g} megapixels; memory limit {memory_limit(limit) // 2**20} MiB")
    print(f"{'kind':18} {'file MB':>8} {'CPU s':>6} {'wall s':>7} {'peak MiB':>9}")
    for name, options in KINDS.items():
        data = encode(synthetic(megapixels, name), name.partition(",")[0], **options)
        box = Sandbox(1, seconds=60)
        started = time.perf_counter()
        box.decode(data, limit)
        wall = time.perf_counter() - started
        with box.child() as child:
            print(f"{name:18} {len(data) / 2**20:8.1f} {processor_seconds(child):6.2f} {wall:7.2f} {peak_mib(child):9}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=float, default=64)
    arguments = parser.parse_args()
    small()
    large(arguments.megapixels)
