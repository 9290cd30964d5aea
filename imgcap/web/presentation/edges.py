"""Draw figures that show how the variance of the Laplacian distinguishes a sharp edge from a blurred one."""

import cv2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

PIXELS = 24
DARK, BRIGHT = 50.0, 210.0
SHARP_SIGMA, BLURRED_SIGMA = 0.4, 3.5
_WIDTH, _STRIP, _MIDDLE, _REACH = 288.0, 56.0, 118.0, 44.0


def edge(sigma: float) -> NDArray[np.float64]:
    """Return the brightness (0-255) of `PIXELS` pixels across an edge that a Gaussian of `sigma` pixels has blurred."""
    step = np.where(np.arange(PIXELS) < PIXELS // 2, DARK, BRIGHT)[None]
    blurred: NDArray[np.float64] = cv2.GaussianBlur(step, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return blurred.ravel()


def laplacian(brightness: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the second difference of each pixel and its two neighbours."""
    values: NDArray[np.float64] = cv2.Laplacian(brightness[None], cv2.CV_64F, borderType=cv2.BORDER_REPLICATE)
    return values.ravel()


def draw_edge(sigma: float, label: str) -> Markup:
    """Return an SVG of an edge: its pixels above, its Laplacian below, on the same scale for every sigma.

    Args:
        sigma: sigma of the blur, in pixels.
        label: label for screen readers.
    """
    brightness = edge(sigma)
    values = laplacian(brightness) / np.abs(laplacian(edge(SHARP_SIGMA))).max()
    kind, step = "sharp" if sigma == SHARP_SIGMA else "blurred", _WIDTH / PIXELS
    pixels = Markup().join(
        Markup('<rect x="{:g}" y="0" width="{:g}" height="{:g}" fill="rgb({},{},{})"/>').format(
            i * step, step + 0.5, _STRIP, *[round(level)] * 3
        )
        for i, level in enumerate(brightness)
    )
    bars = Markup().join(
        Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
            i * step + 1, _MIDDLE - max(value, 0) * _REACH, step - 2, max(abs(value) * _REACH, 0.8)
        )
        for i, value in enumerate(values)
    )
    return Markup(
        '<svg class="imgcap-edge imgcap-edge-{kind}" viewBox="0 0 288 166" role="img" aria-label="{label}">{pixels}'
        '<line x1="0" x2="288" y1="{middle:g}" y2="{middle:g}"/><g>{bars}</g></svg>'
    ).format(kind=kind, label=label, pixels=pixels, bars=bars, middle=_MIDDLE)
