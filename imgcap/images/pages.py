"""Web pages that stand where a picture was expected -> the address of the picture they show."""

from collections.abc import Callable
from html.parser import HTMLParser

import httpx

PAGE_BYTES = 2**19
"""Of a page, what is searched: the names of its picture stand in its head."""
# Beginnings of HTML as the MIME Sniffing standard of WHATWG (7.1) tells it; a comment may precede an SVG too.
BEGINNINGS = tuple(
    f"<{name}{end}".encode()
    for name in ("!doctype html", "html", "head", "script", "iframe", "h1", "div", "font", "table", "a", "style",
                 "title", "b", "body", "br", "p", "meta", "link")
    for end in " >\t\n\r\f/"
)  # fmt: skip
PICTURE_NAMES = ("og:image:secure_url", "og:image", "og:image:url", "twitter:image", "twitter:image:src", "image_src")
"""Names of `meta` elements that give a page's picture (Open Graph protocol; X Cards), or a `link`, the best first."""
WIKIMEDIA = (
    ".wikipedia.org", ".wikimedia.org", ".wiktionary.org", ".wikivoyage.org", ".wikibooks.org", ".wikisource.org",
    ".wikinews.org", ".wikidata.org",
)  # fmt: skip
WIKIMEDIA_WIDTH = 1280  # pixels: a rendering of this width is a JPEG or PNG, whatever the file is


def is_page(body: bytes) -> bool:
    """Return whether `body` is an HTML or XHTML page, by its content."""
    start = body[:1024].lstrip(b"\xef\xbb\xbf\x00\t\n\f\r ").lower()
    if start.startswith((b"<?xml", b"<!--")):
        return b"<html" in start
    return start.startswith(BEGINNINGS)


def find_picture(body: bytes, url: httpx.URL) -> httpx.URL | None:
    """Return the address of the picture that the page at `url` names as its own; None where it names none.

    Raises:
        httpx.InvalidURL: what it names is no address.
    """
    names = _Names()
    names.feed(body[:PAGE_BYTES].decode("utf-8", "replace"))  # without close(): what is unfinished names nothing
    address = next(filter(None, map(names.found.get, PICTURE_NAMES)), None)
    return url.join(address) if address else None


class _Names(HTMLParser):
    """Collects what `meta` and `link` elements say, the first of each name.

    It builds no tree, whose depth makes other parsers take quadratic time.
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
    """Return the direct address of a picture where `url` is its page at a service that documents such addresses.

    Every other address is returned as it is.
    """
    host = url.host.removeprefix("www.")
    rewrite = next((rule for name, rule in SERVICES.items() if host == name or host.endswith("." + name)), None)
    if rewrite is None and host.endswith(WIKIMEDIA):
        rewrite = _wikimedia
    return rewrite(url) if rewrite else url


def _path(url: httpx.URL) -> str:
    """The path as written, percent signs and all."""
    return url.raw_path.partition(b"?")[0].decode("ascii")


def _dropbox(url: httpx.URL) -> httpx.URL:
    """https://help.dropbox.com/share/force-download."""
    if not _path(url).startswith(("/s/", "/scl/fi/")):
        return url
    return url.copy_remove_param("dl").copy_set_param("raw", "1")


def _google_drive(url: httpx.URL) -> httpx.URL:
    """The `webContentLink` of https://developers.google.com/workspace/drive/api/reference/rest/v3/files."""
    parts = _path(url).split("/")
    file = parts[3] if parts[1:3] == ["file", "d"] and len(parts) > 3 else ""
    if parts[1:] == ["open"]:
        file = url.params.get("id", "")
    return url.copy_with(path="/uc", params={"export": "download", "id": file}, fragment="") if file else url


def _github(url: httpx.URL) -> httpx.URL:
    """https://docs.github.com/en/repositories/working-with-files/using-files/viewing-and-understanding-files."""
    parts = _path(url).split("/")
    if len(parts) < 6 or parts[3] != "blob":
        return url
    parts[3] = "raw"
    return url.copy_with(raw_path="/".join(parts).encode(), fragment="")


def _google_images(url: httpx.URL) -> httpx.URL:
    """A result of a search for images names the picture's own address."""
    address = url.params.get("imgurl", "") if _path(url) == "/imgres" else ""
    return url.join(address) if address else url


def _wikimedia(url: httpx.URL) -> httpx.URL:
    """https://www.mediawiki.org/wiki/Help:Redirects#Special:FilePath, for a file's page or an opened picture."""
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
