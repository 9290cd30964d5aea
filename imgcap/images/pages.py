"""Find the image that a web page shows, for links that lead to the page instead of the image."""

from collections.abc import Callable
from html.parser import HTMLParser

import httpx

PAGE_BYTES = 2**19
"""Bytes of a page that are searched, since its head names its image."""
# Beginnings of HTML in the MIME Sniffing standard of WHATWG (7.1). A comment is not listed: it may also precede an SVG.
BEGINNINGS = tuple(
    f"<{name}{end}".encode()
    for name in ("!doctype html", "html", "head", "script", "iframe", "h1", "div", "font", "table", "a", "style",
                 "title", "b", "body", "br", "p", "meta", "link")
    for end in " >\t\n\r\f/"
)  # fmt: skip
PICTURE_NAMES = ("og:image:secure_url", "og:image", "og:image:url", "twitter:image", "twitter:image:src", "image_src")
"""Names of `meta` elements that give a page's image (Open Graph protocol; X Cards), or a `link`, the best first."""
WIKIMEDIA = (
    ".wikipedia.org", ".wikimedia.org", ".wiktionary.org", ".wikivoyage.org", ".wikibooks.org", ".wikisource.org",
    ".wikinews.org", ".wikidata.org",
)  # fmt: skip
WIKIMEDIA_WIDTH = 1280  # pixels: a rendering of this width is a JPEG or PNG, whatever the file is


def is_page(body: bytes) -> bool:
    """Return whether the content of `body` is an HTML or XHTML page."""
    start = body[:1024].lstrip(b"\xef\xbb\xbf\x00\t\n\f\r ").lower()
    if start.startswith((b"<?xml", b"<!--")):
        return b"<html" in start
    return start.startswith(BEGINNINGS)


def find_picture(body: bytes, url: httpx.URL) -> httpx.URL | None:
    """Return the address of the image that the page at `url` names as its own; None if it names none.

    Raises:
        httpx.InvalidURL: the page names something that is not an address.
    """
    names = _Names()
    names.feed(body[:PAGE_BYTES].decode("utf-8", "replace"))  # no close(): an unfinished element is ignored
    address = next(filter(None, map(names.found.get, PICTURE_NAMES)), None)
    return url.join(address) if address else None


class _Names(HTMLParser):
    """Collects the values of `meta` and `link` elements, the first of each name.

    It builds no tree, because deep trees make other parsers take quadratic time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: (value or "").strip() for name, value in attrs}
        if tag == "meta":
            name, value = values.get("property") or values.get("name", ""), values.get("content", "")
        elif tag == "link":
            name, value = values.get("rel", ""), values.get("href", "")
        else:
            return
        if value:
            self.found.setdefault(name.lower(), value)


def direct(url: httpx.URL) -> httpx.URL:
    """Return the direct address of an image whose page `url` is, at a service that documents such addresses.

    Every other address is returned as it is.
    """
    host = url.host.removeprefix("www.")
    rewrite = next((rule for name, rule in SERVICES.items() if host == name or host.endswith("." + name)), None)
    if rewrite is None and host.endswith(WIKIMEDIA):
        rewrite = _wikimedia
    return rewrite(url) if rewrite else url


def _path(url: httpx.URL) -> str:
    """Return the path as written, with its percent signs."""
    return url.raw_path.partition(b"?")[0].decode("ascii")


def _dropbox(url: httpx.URL) -> httpx.URL:
    """Return the address of https://help.dropbox.com/share/force-download."""
    if not _path(url).startswith(("/s/", "/scl/fi/")):
        return url
    return url.copy_remove_param("dl").copy_set_param("raw", "1")


def _google_drive(url: httpx.URL) -> httpx.URL:
    """Return `webContentLink` of https://developers.google.com/workspace/drive/api/reference/rest/v3/files."""
    parts = _path(url).split("/")
    file = parts[3] if parts[1:3] == ["file", "d"] and len(parts) > 3 else ""
    if parts[1:] == ["open"]:
        file = url.params.get("id", "")
    return url.copy_with(path="/uc", params={"export": "download", "id": file}, fragment="") if file else url


def _github(url: httpx.URL) -> httpx.URL:
    """Return the raw file's address (docs.github.com, "Viewing and understanding files")."""
    parts = _path(url).split("/")
    if len(parts) < 6 or parts[3] != "blob":
        return url
    parts[3] = "raw"
    return url.copy_with(raw_path="/".join(parts).encode(), fragment="")


def _google_images(url: httpx.URL) -> httpx.URL:
    """Return the address that a result of an image search names."""
    address = url.params.get("imgurl", "") if _path(url) == "/imgres" else ""
    return url.join(address) if address else url


def _wikimedia(url: httpx.URL) -> httpx.URL:
    """Return the `Special:FilePath` (mediawiki.org, Help:Redirects) of a file's page or an opened image."""
    for place in (_path(url).removeprefix("/wiki/"), url.fragment.removeprefix("/media/")):
        namespace, colon, name = place.partition(":")
        if colon and name and namespace.lower() in ("file", "image"):
            query = f"?width={WIKIMEDIA_WIDTH}"
            path = f"/wiki/Special:FilePath/{name}"
            return httpx.URL(f"{url.scheme}://{url.netloc.decode('ascii')}{path}{query}")
    return url


SERVICES: dict[str, Callable[[httpx.URL], httpx.URL]] = {
    "dropbox.com": _dropbox,
    "drive.google.com": _google_drive,
    "github.com": _github,
    "google.com": _google_images,
}
