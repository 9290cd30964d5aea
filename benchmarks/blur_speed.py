"""Measure the cost of the blur check and of decoding: `python -m benchmarks.blur_speed PHOTO [--repeats 15]`.

The photograph is enlarged to 12 megapixels and saved as JPEG (quality 90). The table gives medians of wall and
processor time in milliseconds on one core, and then the check's peak memory above the image itself, as tracemalloc
measures NumPy's and OpenCV's arrays.
"""

import argparse
import io
import time
import tracemalloc
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from imgcap.blur.content import photographs
from imgcap.blur.sharpness import measure
from imgcap.images.limits import ImageLimits
from imgcap.images.loading import ImageLoader

SIZE = (4000, 3000)


def median_ms(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the median (wall, processor) milliseconds of a call."""
    spans = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        spans.append((time.perf_counter() - wall, time.process_time() - cpu))
    return tuple(1000 * float(value) for value in np.median(spans, axis=0))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    large = Image.fromarray(ImageLoader(ImageLimits()).read_file(options.photo)).resize(SIZE, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    large.save(buffer, "JPEG", quality=90)
    data, picture = buffer.getvalue(), np.asarray(large)
    rows: dict[str, Callable[[], object]] = {
        "decode with Pillow": lambda: np.asarray(Image.open(io.BytesIO(data)).convert("RGB")),
        "blur.measure": lambda: measure(picture, 0.0),
        "of that, to the content at working scale": lambda: photographs(picture),
        "one INTER_AREA step to the same size": lambda: cv2.resize(picture, (500, 375), interpolation=cv2.INTER_AREA),
        "plain variance at native size": lambda: cv2.Laplacian(
            cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_64F
        ).var(),
    }
    print(f"| {SIZE[0]} x {SIZE[1]} JPEG | wall ms | processor ms |\n|---|---|---|")
    for name, work in rows.items():
        wall, cpu = median_ms(work, options.repeats)
        print(f"| {name} | {wall:.1f} | {cpu:.1f} |")
    tracemalloc.start()
    measure(picture, 0.0)
    print(f"\npeak memory of blur.measure: {tracemalloc.get_traced_memory()[1] / 2**20:.1f} MiB above the picture")


if __name__ == "__main__":
    main()
