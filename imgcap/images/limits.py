"""How large a picture and how patient a download may be."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageLimits:
    """Limits on pictures and links; the settings take their defaults from here."""

    max_bytes: int = 25 * 2**20  # of a file, or of what a link leads to
    max_pixels: int = 64_000_000  # width x height
    url_timeout: float = 10.0  # seconds that a link may take in all
    url_max_redirects: int = 5
    allow_private_links: bool = False  # links may lead to addresses that are not public
    contact: str = ""  # an address or page, named to the servers that links lead to
