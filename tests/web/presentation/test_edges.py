import re

import numpy as np

from imgcap.web.presentation.edges import BLURRED_SIGMA, BRIGHT, DARK, PIXELS, SHARP_SIGMA, draw_edge, edge, laplacian


def test_blur_leaves_the_ends_of_an_edge_and_takes_its_laplacians_variance():
    sharp, blurred = edge(SHARP_SIGMA), edge(BLURRED_SIGMA)
    for brightness in (sharp, blurred):
        assert brightness.shape == (PIXELS,)
        assert np.allclose(brightness[[0, -1]], (DARK, BRIGHT), atol=1)
        assert (np.diff(brightness) > -1e-9).all()
    assert laplacian(sharp).var() > 50 * laplacian(blurred).var() > 0


def test_the_drawing_shows_each_pixel_and_its_laplacian_and_is_labelled():
    drawing = draw_edge(SHARP_SIGMA, 'A "sharp" <edge>')
    assert 'aria-label="A &#34;sharp&#34; &lt;edge&gt;"' in drawing
    assert drawing.count("<rect") == 2 * PIXELS
    assert "imgcap-edge-sharp" in drawing
    heights = [float(height) for height in re.findall(r'height="([\d.]+)"/>', draw_edge(BLURRED_SIGMA, ""))]
    assert max(heights) < 10  # on the sharp one's scale
