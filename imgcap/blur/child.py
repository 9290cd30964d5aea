"""The child's side of opening an image: decode an untrusted file and measure the sharpness of its pixels.

`imgcap.images.sandbox` runs this module in child processes. OpenCV's functions are many and short, and in the server's
process each of them would wait for Python's interpreter, which captions keep busy.
"""

from dataclasses import asdict
from typing import Any, BinaryIO

import cv2

from imgcap.blur.sharpness import measure
from imgcap.images import child, pixels


def answer(answers: BinaryIO, data: bytes, request: dict[str, Any]) -> None:
    """Write a line of JSON with the decoded image's size and its Sharpness as `sharpness`, then its pixels.

    A request without `threshold` gets no Sharpness.
    """
    decoded = pixels.to_rgb(data, request["max_pixels"])
    found = {"sharpness": asdict(measure(decoded, request["threshold"]))} if "threshold" in request else {}
    pixels.write(answers, decoded, **found)


if __name__ == "__main__":
    cv2.setNumThreads(1)  # further threads would keep the low priority that they get while a file takes long
    child.run(answer)
