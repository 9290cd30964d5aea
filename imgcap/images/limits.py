"""Limits on the size of images and on the time of downloads."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageLimits:
    """Limits on images and links; the settings take their defaults from here."""

    max_bytes: int = 25 * 2**20  # of a file or a download
    max_pixels: int = 64_000_000  # width x height
    url_timeout: float = 10.0  # seconds that a link may take in all
    url_max_redirects: int = 5
    allow_private_links: bool = False  # whether links may lead to addresses that are not public
    contact: str = ""  # an e-mail address or page, sent to the servers of links
