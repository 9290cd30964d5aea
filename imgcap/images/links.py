"""Fetch the bytes of an image behind a link, from public addresses only.

The address that is checked is also the one that is connected to, which prevents DNS rebinding: each hop's name is
resolved once, all of its addresses must pass, and the connection goes to one of them, while Host, SNI and the
certificate check keep the name.
"""

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

import httpx

from imgcap import __version__
from imgcap.errors import InputError
from imgcap.images.encodings import read_data_url, unpack
from imgcap.images.limits import ImageLimits
from imgcap.images.pages import direct, find_picture, is_page

Address: TypeAlias = IPv4Address | IPv6Address
Resolver: TypeAlias = Callable[[str], Awaitable[list[Address]]]

UNREACHABLE = "The link cannot be reached: check it, or upload the picture."
PAGE = (
    "The link leads to a web page that names no picture: open the page, right-click the picture, choose "
    "'Copy image address' and use that."
)
logger = logging.getLogger(__name__)

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Python 3.11's `is_global` calls these public, but they are not, or they lead to any IPv4 address: 6to4 and its relays,
# Teredo, documentation (RFC 9637), site-local.
NOT_PUBLIC = [
    ipaddress.ip_network(network) for network in ("2002::/16", "192.88.99.0/24", "2001::/32", "3fff::/20", "fec0::/10")
]
# Both log every link, and links are private.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)
# A separate pool, so that a name server that never answers delays links and nothing else.
_resolvers = ThreadPoolExecutor(8, "imgcap-resolve")


def is_public(address: Address) -> bool:
    """Return whether `address`, or the IPv4 address inside it, belongs to the public internet."""
    if isinstance(address, IPv6Address):
        inner = IPv4Address(int(address) & 0xFFFFFFFF) if address in NAT64 else address.ipv4_mapped
        if inner is not None:
            return is_public(inner)
    closed = address.is_multicast or address.is_reserved or any(address in network for network in NOT_PUBLIC)
    return address.is_global and not closed


async def resolve(host: str) -> list[Address]:
    """Return every address (A and AAAA) of `host`, from the system's resolver."""
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(_resolvers, lambda: socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    return list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))


class PinnedTransport(httpx.AsyncHTTPTransport):
    """Transport that connects only to addresses that `allow` accepts."""

    def __init__(self, allow: Callable[[Address], bool], resolver: Resolver, tls: ssl.SSLContext) -> None:
        super().__init__(verify=tls, trust_env=False)
        self.allow = allow
        self.resolver = resolver

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request` to its host's first address that answers; Host, SNI and certificate keep the host's name."""
        host = request.url.raw_host.decode()
        addresses = await self._addresses(host)
        for address in addresses:
            pinned = httpx.Request(
                request.method,
                request.url.copy_with(host=str(address)),
                headers=request.headers,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return await super().handle_async_request(pinned)
            except httpx.ConnectError:
                if address == addresses[-1]:
                    raise
        raise httpx.ConnectError("no address")

    async def _addresses(self, host: str) -> list[Address]:
        try:
            addresses = [ipaddress.ip_address(host.strip("[]"))]
        except ValueError:
            addresses = await self.resolver(host)
        if not all(map(self.allow, addresses)):
            raise InputError("The link does not lead to a public address: upload the picture instead.")
        return addresses


def is_link(text: str) -> bool:
    """Return whether `text` has the form of an http or data link with its scheme."""
    return "://" in text or text.strip()[:5].lower() == "data:"


def fetch(url: str, limits: ImageLimits) -> bytes:
    """Call `fetch_async` from a thread without a running event loop."""
    return asyncio.run(fetch_async(url, limits))


async def fetch_async(
    url: str,
    limits: ImageLimits,
    *,
    allow: Callable[[Address], bool] | None = None,
    resolver: Resolver = resolve,
    tls: ssl.SSLContext | None = None,
) -> bytes:
    """Return the bytes of the image at `url`, unchecked: `imgcap.images.loading.ImageLoader.decode` checks them.

    Redirects are followed, also from https to http, since plain http links are accepted too. If the link leads to a
    web page, the image that the page names as its own is fetched (`imgcap.images.pages`). Every address on the way is
    checked like the first.

    Args:
        url: an http or https link without a user name or password; one without a scheme (https is tried, then http);
            or a data URL.
        limits: on size, time and redirects, and whether private addresses are allowed.
        allow: says whether an address may be connected to; None allows public ones, or all if `limits` says so.
        resolver: gives the addresses of a host name.
        tls: how https servers are verified; None means certifi's authorities.

    Raises:
        InputError: the link is malformed, not public, unreachable, too slow, too large, redirects too often, is
            answered with an HTTP error, or leads to a web page that names no image.
    """
    if allow is None:
        allow = (lambda _: True) if limits.allow_private_links else is_public
    text = url.strip()
    try:
        if text[:5].lower() == "data:":
            return _read_data(text, limits.max_bytes)
        transport = PinnedTransport(allow, resolver, tls or _certifi())
        headers = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": user_agent(limits.contact)}
        async with (
            asyncio.timeout(limits.url_timeout),
            httpx.AsyncClient(transport=transport, trust_env=False, timeout=None, headers=headers) as client,  # noqa: S113 - asyncio.timeout caps the whole
        ):
            return await _fetch_text(client, text, limits)
    except InputError:
        raise
    except TimeoutError:
        raise InputError(f"The link took longer than {limits.url_timeout:g} seconds: try it again later.") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError):
        raise InputError(UNREACHABLE) from None
    except Exception as error:  # noqa: BLE001 - whatever a foreign server causes must fail this link only
        logger.warning("A link ended in an unexpected %s.", type(error).__name__)
        raise InputError(UNREACHABLE) from None


def user_agent(contact: str) -> str:
    """Return what this software tells servers about itself, in the form of Wikimedia's User-Agent policy."""
    return f"imgcap/{__version__} {f'({contact}) ' if contact else ''}httpx/{httpx.__version__}"


async def _fetch_text(client: httpx.AsyncClient, text: str, limits: ImageLimits) -> bytes:
    head, colon, rest = text.partition(":")
    has_scheme = colon and not {".", "/"} & {*head} and not rest[:1].isdigit()
    if has_scheme or not text.removeprefix("//") or (text.startswith("/") and not text.startswith("//")):
        return await _follow(client, httpx.URL(text), limits)
    address = text.removeprefix("//")
    try:
        async with asyncio.timeout(limits.url_timeout / 2):
            return await _follow(client, httpx.URL(f"https://{address}"), limits)
    except (TimeoutError, httpx.TransportError):
        return await _follow(client, httpx.URL(f"http://{address}"), limits)


async def _follow(client: httpx.AsyncClient, url: httpx.URL, limits: ImageLimits) -> bytes:
    from_page = False
    for _ in range(limits.url_max_redirects + 1):
        url = direct(url)
        _check(url)
        # Redirects are followed here, because httpx would read the whole body of each, however long.
        response = await client.send(client.build_request("GET", url), stream=True)
        if response.next_request is not None:
            await response.aclose()
            url = response.next_request.url
            continue
        body = await _body(response, limits.max_bytes)
        if not is_page(body):
            return body
        picture = None if from_page else find_picture(body, url)
        if picture is None:
            raise InputError(PAGE)
        url, from_page = picture, True
    raise InputError("The link redirects too often: use the picture's final address.")


def _check(url: httpx.URL) -> None:
    if url.scheme not in ("http", "https") or not url.host:
        raise InputError("The link must begin with http:// or https:// and name a server.")
    if url.userinfo:
        raise InputError("A link with a user name or password is not accepted: use a public link.")
    if url.port is not None and not 0 < url.port < 2**16:
        raise InputError("The link's port must be a number from 1 to 65535: check the link.")


@lru_cache(maxsize=1)
def _certifi() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


def _read_data(text: str, limit: int) -> bytes:
    try:
        body = read_data_url(text)
    except ValueError:
        raise InputError("The data URL is incomplete: copy the whole of it, or upload the picture.") from None
    if len(body) > limit:
        raise InputError(_too_large(limit))
    return body


async def _body(response: httpx.Response, limit: int) -> bytes:
    """Return the unpacked body of a response."""
    if response.status_code != 200:
        raise InputError(_status_advice(response.status_code))
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > limit:
            raise InputError(_too_large(limit))
    plain = unpack(bytes(body), response.headers.get("Content-Encoding", ""), limit)
    if len(plain) > limit:
        raise InputError(_too_large(limit))
    return plain


def _too_large(limit: int) -> str:
    return f"The link holds more than {limit / 2**20:.3g} MB: use a smaller picture."


def _status_advice(status: int) -> str:
    """Return what to do about an HTTP status other than 200."""
    if status in (401, 403, 407, 451):
        return f"The link's server does not give the picture to programs (status {status}): save it and upload it."
    if status in (404, 410):
        return f"There is no picture at the link (status {status}): check the link."
    if status == 429:
        return f"The link's server gets too many requests (status {status}): try again later, or upload the picture."
    if status >= 500:
        return f"The link's server has a fault (status {status}): try again later, or upload the picture."
    return f"The link's server answered with status {status}: check the link."
