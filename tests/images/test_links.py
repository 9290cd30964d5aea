import asyncio
import base64
import gzip
import ipaddress
import logging
import re
import ssl
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote_from_bytes

import brotli
import pytest
import zstandard
from hostile import encode
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import body, redirect, serve
from PIL import Image

from imgcap.errors import InputError
from imgcap.images.encodings import unpack
from imgcap.images.limits import ImageLimits
from imgcap.images.links import fetch_async, is_public
from imgcap.images.loading import ImageLoader
from imgcap.settings import Settings

PNG = encode(Image.new("RGB", (44, 33), "blue"), "PNG")
PEM = Path(__file__).parents[1] / "samples" / "picture.test.pem"
FIRST, SECOND, FORBIDDEN = map(ipaddress.ip_address, ("127.0.0.1", "127.0.0.2", "127.0.0.3"))


def loopback_but_one(address) -> bool:
    inner = getattr(address, "ipv4_mapped", None) or address  # since Python 3.13 a mapped address has its IPv4's kind
    return inner.is_loopback and inner != FORBIDDEN


LIMITS = ImageLimits(max_bytes=100_000, url_timeout=20)


async def get(url, limits=LIMITS, **options):
    return await fetch_async(url, limits, **({"allow": loopback_but_one} | options))


def names(**table):
    """A resolver that knows the names in `table`, and how often it was asked."""

    async def resolver(host):
        asked.append(host)
        return table[host.replace(".", "_")]

    asked = resolver.asked = []
    return resolver


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.8.8.8",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.1",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "fe80::1",
        "fe80::1%1",
        "fc00::1",
        "fd12::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:0:7f00:1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "2002:a00:1::",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:db8::1",
        "100::1",
        "3fff::1",
        "5f00::1",
        "192.88.99.1",
        "2002:808:808::",
    ],
)
def test_addresses_that_are_not_public(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses(address):
    assert is_public(ipaddress.ip_address(address))


def test_private_links_need_the_setting():
    assert ImageLimits().allow_private_links is False
    assert Settings().image_limits == ImageLimits()
    assert Settings(allow_private_links=True).image_limits.allow_private_links is True


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "017700000001", "127.1", "[::1]", "[::ffff:127.0.0.1]", "0"],
)
async def test_by_default_this_machine_is_out_of_reach_however_it_is_written(host):
    async with serve(body(PNG)) as server:
        with pytest.raises(InputError, match="public address"):
            await fetch_async(server.url(host=host), LIMITS)
    assert server.requests == []


async def test_a_picture_is_fetched_and_the_server_learns_little():
    async with serve(body(PNG)) as server:
        assert await get(server.url("/a.png?b=c")) == PNG
    lines = server.requests[0].strip().split("\r\n")
    assert lines[0] == "GET /a.png?b=c HTTP/1.1"
    assert sorted(line.split(":")[0].lower() for line in lines[1:]) == [
        "accept", "accept-encoding", "connection", "host", "user-agent",
    ]  # fmt: skip
    assert f"Host: 127.0.0.1:{server.port}" in lines
    assert "accept-encoding: identity" in server.requests[0].lower()


def test_sync_fetch_and_load():
    started = asyncio.new_event_loop()
    limits = replace(LIMITS, allow_private_links=True)

    async def session():
        async with serve(body(PNG, "Content-Type: text/html")) as server:
            return await asyncio.to_thread(ImageLoader(limits).load, server.url())

    assert started.run_until_complete(session()).shape == (33, 44, 3)
    started.close()


async def test_what_is_no_picture_is_refused_whatever_the_server_calls_it():
    async with serve(body(b"secret words", "Content-Type: image/png")) as server:
        data = await get(server.url())
    with pytest.raises(InputError, match="not a picture of a known kind"):
        ImageLoader(LIMITS).decode(data)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "must begin with http"),
        ("  ", "must begin with http"),
        ("/a/picture.png", "must begin with http"),
        ("//", "must begin with http"),
        ("picture.invalid", "cannot be reached"),
        ("javascript:alert(1)", "must begin with http"),
        ("mailto:a@example.com", "must begin with http"),
        ("http://", "must begin with http"),
        ("ftp://example.com/a.png", "must begin with http"),
        ("file:///etc/passwd", "must begin with http"),
        ("data:image/png;base64", "data URL is incomplete"),
        ("data:image/png;base64,A", "data URL is incomplete"),
        ("data:", "data URL is incomplete"),
        ("gopher://127.0.0.1:25/x", "must begin with http"),
        ("http://user:password@127.0.0.1/", "user name or password"),
        ("http://user@127.0.0.1/", "user name or password"),
        ("http://a b/", "cannot be reached"),
        ("http://a..b/", "cannot be reached"),
        ("http://127.0.0.1:99999/", "port must be a number"),
        ("http://127.0.0.1:-1/", "port must be a number"),
        ("http://127.0.0.1:0/", "port must be a number"),
        ("http://127.0.0.1:1e3/", "cannot be reached"),
        ("127.0.0.1:99999/a.png", "port must be a number"),
        ("http://\0/", "cannot be reached"),
        ("http://" + "a" * 300 + "/", "cannot be reached"),
        ("http://127.0.0.1:1/" + "a" * 100_000, "cannot be reached"),
        ("http://name.invalid/", "cannot be reached"),
        ("http://127.0.0.1:1/", "cannot be reached"),
    ],
    ids=lambda value: value[:30],
)
async def test_malformed_links(url, words):
    with pytest.raises(InputError, match=words) as refusal:
        await get(url)
    assert str(refusal.value).endswith(".")
    assert len(str(refusal.value)) < 120


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
async def test_redirects_are_followed(status):
    async def reply(path, writer):
        await (redirect("/there", status) if path == "/here" else body(PNG))(path, writer)

    async with serve(reply) as server:
        assert await get(server.url("/here")) == PNG


async def test_redirects_are_counted():
    async with serve(redirect("/again")) as server:
        limits = replace(LIMITS, url_max_redirects=3)
        with pytest.raises(InputError, match="redirects too often"):
            await get(server.url(), limits)
        assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("http://127.0.0.3:{port}/", "public address"),
        ("//127.0.0.3:{port}/", "public address"),
        ("http://[::ffff:127.0.0.3]:{port}/", "public address"),
        ("http://169.254.169.254/latest/meta-data/", "public address"),
        ("http://10.0.0.1/", "public address"),
        ("file:///etc/passwd", "must begin with http"),
        ("ftp://127.0.0.1/", "must begin with http"),
        ("http://user:password@127.0.0.1:{port}/", "user name or password"),
        ("http://[broken/", "cannot be reached"),
        ("http://127.0.0.1:99999/", "port must be a number"),
        ("http://127.0.0.1:-1/", "port must be a number"),
    ],
)
async def test_each_redirect_is_checked_again(location, words):
    async with serve(body(PNG), host=str(FORBIDDEN)) as inner:
        async with serve(redirect(location.format(port=inner.port))) as server:
            with pytest.raises(InputError, match=words):
                await get(server.url())
        assert inner.requests == []


async def test_an_endless_redirect_body_is_not_read():
    async def reply(path, writer):
        if path == "/there":
            return await body(PNG)(path, writer)
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /there\r\nTransfer-Encoding: chunked\r\n\r\n")
        return await endless(path, writer)

    async with serve(reply) as server:
        assert await get(server.url()) == PNG


async def endless(_, writer):
    while True:
        writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        await writer.drain()


@pytest.mark.parametrize("header", ["Transfer-Encoding: chunked", "Content-Length: 99999999999", "X-None: at all"])
async def test_an_endless_body_is_cut_off(header):
    async def reply(path, writer):
        writer.write(f"HTTP/1.1 200 OK\r\n{header}\r\n\r\n".encode())
        await endless(path, writer)

    tracemalloc.start()
    async with serve(reply) as server:
        with pytest.raises(InputError, match="holds more than"):
            await get(server.url())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


async def test_a_promised_length_is_not_believed():
    async with serve(body(PNG + b"more", f"Content-Length: {len(PNG)}")) as server:
        assert await get(server.url()) == PNG
    async with serve(body(PNG, "Content-Length: 1000")) as server:
        with pytest.raises(InputError, match="cannot be reached"):
            await get(server.url())


@pytest.mark.parametrize("encoding", ["Content-Encoding: gzip", "Content-Encoding: utf-8", "X-Plain: true"])
async def test_the_content_tells_whether_it_is_packed(encoding):
    for content in (PNG, gzip.compress(PNG)):
        async with serve(body(content, encoding)) as server:
            assert await get(server.url()) == PNG


async def test_a_gzip_bomb_is_cut_off():
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 100_000
    tracemalloc.start()
    async with serve(body(bomb, "Content-Encoding: gzip")) as server:
        with pytest.raises(InputError, match="holds more than"):
            await get(server.url())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


async def drip_headers(_, writer):
    writer.write(b"HTTP/1.1 200 OK\r\n")
    await drip(_, writer)


async def drip_body(_, writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    await drip(_, writer)


async def drip(_, writer):
    while True:  # always in time for a timeout between two reads
        writer.write(b"X")
        await writer.drain()
        await asyncio.sleep(0.05)


async def silence(_, __):
    await asyncio.sleep(3600)


@pytest.mark.parametrize("reply", [drip_headers, drip_body, silence])
async def test_the_whole_time_is_capped(reply):
    limits = replace(LIMITS, url_timeout=0.5)
    async with serve(reply) as server:
        with pytest.raises(InputError, match=r"longer than 0\.5 seconds"):
            await get(server.url(), limits)


async def test_a_name_server_that_never_answers_is_given_up():
    limits = replace(LIMITS, url_timeout=0.2)

    async def resolver(host):
        await asyncio.sleep(3600)

    with pytest.raises(InputError, match=r"longer than 0\.2 seconds"):
        await get("http://slow.test/", limits=limits, resolver=resolver)


async def test_slow_redirects_share_one_time():
    async def reply(path, writer):
        await asyncio.sleep(0.3)
        await redirect("/again")(path, writer)

    limits = replace(LIMITS, url_timeout=1, url_max_redirects=20)
    async with serve(reply) as server:
        with pytest.raises(InputError, match="longer than 1 seconds"):
            await get(server.url(), limits)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("401 Unauthorized", "does not give the picture to programs"),
        ("403 Forbidden", "does not give the picture to programs"),
        ("451 Legal", "does not give the picture to programs"),
        ("404 Not Found", "There is no picture at the link"),
        ("410 Gone", "There is no picture at the link"),
        ("429 Too Many", "gets too many requests"),
        ("500 Error", "has a fault"),
        ("503 Busy", "has a fault"),
        ("599 Other", "has a fault"),
        ("418 Teapot", "answered with status"),
    ],
)
async def test_each_status_has_its_advice(status, words):
    async with serve(body(b"", status=status)) as server:
        with pytest.raises(InputError, match=rf"{words}.*{status[:3]}.*: .*\.$"):
            await get(server.url())


async def test_servers_learn_the_software_its_version_and_a_contact():
    async with serve(body(PNG)) as server:
        await get(server.url())
        await get(server.url(), replace(LIMITS, contact="ann@example.org"))
    first, second = (re.search(r"(?i)user-agent: (.*)\r", request)[1] for request in server.requests)
    assert re.fullmatch(r"imgcap/\d+\.\d+\.\d+ httpx/[\d.]+", first)
    assert re.fullmatch(r"imgcap/\d+\.\d+\.\d+ \(ann@example\.org\) httpx/[\d.]+", second)
    assert Settings(link_contact="x").image_limits.contact == "x"


PACKERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "br": lambda plain: brotli.compress(plain, quality=5),
    "zstd": zstandard.ZstdCompressor().compress,
    "deflate": zlib.compress,
    "bare deflate": lambda plain: zlib.compress(plain, wbits=-15),
}


@pytest.mark.parametrize("coding", PACKERS)
async def test_packed_bodies_are_unpacked(coding):
    header = f"Content-Encoding: {coding.split()[-1].upper()}"
    async with serve(body(PACKERS[coding](PNG), header)) as server:
        assert await get(server.url()) == PNG
    async with serve(body(PNG, header)) as server:  # the header may be wrong
        assert await get(server.url()) == PNG
    async with serve(body(PACKERS["br"](PACKERS[coding](PNG)), f"{header}, br")) as server:
        assert await get(server.url()) == PNG


@pytest.mark.parametrize("coding", PACKERS)
async def test_a_bomb_of_every_coding_is_cut_off(coding):
    bomb = PACKERS[coding](bytes(50_000_000))
    assert len(bomb) < 100_000
    tracemalloc.start()
    async with serve(body(bomb, f"Content-Encoding: {coding.split()[-1]}")) as server:
        with pytest.raises(InputError, match="holds more than"):
            await get(server.url())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


@given(st.binary(max_size=300), st.sampled_from([*PACKERS, "identity", "x"]), st.integers(1, 200))
def test_no_body_breaks_the_unpacking(content, coding, limit):
    assert len(unpack(content, coding, limit)) <= max(limit + 1, len(content))
    assert unpack(PACKERS["br"](content), "br", 300) == content


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64," + base64.b64encode(PNG).decode(),
        "DATA:;base64," + base64.b64encode(PNG).decode() + "\n",
        "data:image/png," + quote_from_bytes(PNG),
        "data:text/html;charset=utf-8;base64," + base64.b64encode(PNG).decode(),
    ],
    ids=lambda url: url[:24],
)
async def test_data_urls_are_read(url):
    assert await get(url) == PNG
    assert (await asyncio.to_thread(ImageLoader(LIMITS).load, url)).shape == (33, 44, 3)


async def test_a_data_url_is_limited_too():
    with pytest.raises(InputError, match="holds more than"):
        await get("data:," + "a" * 200_000)


@pytest.mark.parametrize("slashes", ["", "//"])
async def test_an_address_without_a_scheme_is_a_link(slashes):
    async with serve(body(PNG), refuses_tls=True) as server:
        address = server.url("/a.png", host="plain.test").removeprefix("http://")
        assert await get(slashes + address, resolver=names(plain_test=[FIRST])) == PNG
    async with serve(body(PNG), tls=server_tls()) as server:
        address = server.url("/a.png", host="picture.test").removeprefix("http://")
        trusting = ssl.create_default_context(cafile=PEM)
        assert await get(slashes + address, resolver=names(picture_test=[FIRST]), tls=trusting) == PNG


async def test_a_server_that_answers_no_https_leaves_time_for_http():
    async def reply(path, writer):
        await asyncio.sleep(3600)

    limits = replace(LIMITS, url_timeout=1)
    async with serve(reply) as silent:
        with pytest.raises(InputError, match="longer than 1 seconds"):
            await get(silent.url().removeprefix("http://"), limits)


def test_a_source_without_a_scheme_is_a_path_if_there_is_such_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "example.invalid").mkdir()
    (tmp_path / "example.invalid" / "a.png").write_bytes(PNG)
    loader = ImageLoader(LIMITS)
    assert loader.load("example.invalid/a.png").shape == (33, 44, 3)
    for missing in ("photo.jpg", "example.invalid/b.png", "../b/photo.jpg", "./a.b/c.png", "folder/photo.jpg"):
        with pytest.raises(InputError, match="There is no file of that name: check how it is written"):
            loader.load(missing)
    with pytest.raises(InputError, match="no file of that name, and no picture at it as a link"):
        loader.load("other.invalid/a.png")


def page(*head: str, before: str = "<!DOCTYPE html>") -> bytes:
    return f"{before}<html><head><title>Photo</title>{''.join(head)}</head><body>x</body></html>".encode()


async def fetch_page(content, path="/picture.png", **options):
    async def reply(asked, writer):
        await body(PNG if asked == path else content)(asked, writer)

    async with serve(reply) as server:
        return await get(server.url("/page"), **options)


@pytest.mark.parametrize(
    "element",
    [
        '<meta property="og:image" content="/picture.png">',
        "<META PROPERTY=OG:IMAGE CONTENT=/picture.png>",
        "<meta content='picture.png' property='og:image' />",
        '<meta name="og:image" content=" /picture.png ">',
        '<meta property="og:image:url" content="/picture.png">',
        '<meta name="twitter:image" content="/picture.png">',
        '<link rel="image_src" href="/picture.png">',
        '<meta property="og:image" content=""><meta name="twitter:image" content="./picture.png">',
        '<meta name="twitter:image" content="/other.png"><meta property="og:image" content="/picture.png">',
        '<!-- <meta property="og:image" content="/no.png"> --><meta property="og:image" content="/picture.png">',
        '<script>"<meta property=og:image content=/no.png>"</script><meta property="og:image" content="/picture.png">',
    ],
)
async def test_the_picture_that_a_page_names_is_fetched(element):
    assert await fetch_page(page(element)) == PNG


@pytest.mark.parametrize("before", ["", "\ufeff<!doctype HTML>", "  \n", '<?xml version="1.0"?>', "<!-- hello -->"])
async def test_a_page_is_told_by_its_content(before):
    assert await fetch_page(page('<meta property="og:image" content="/picture.png">', before=before)) == PNG
    with pytest.raises(InputError, match="leads to a web page"):
        await fetch_page(page(before=before))


async def test_ampersands_in_an_address_are_unescaped():
    element = '<meta property="og:image" content="/picture.png?a=1&amp;b=2">'
    assert await fetch_page(page(element), "/picture.png?a=1&b=2") == PNG


@pytest.mark.parametrize(
    "named",
    ["http://127.0.0.3:1/", "http://169.254.169.254/latest/", "//10.0.0.1/a.png", "http://[::ffff:127.0.0.3]/"],
)
async def test_the_picture_of_a_page_is_checked_like_a_link(named):
    with pytest.raises(InputError, match="public address"):
        await fetch_page(page(f'<meta property="og:image" content="{named}">'))


@pytest.mark.parametrize(
    ("named", "words"),
    [("file:///etc/passwd", "must begin with http"), ("http://u:p@127.0.0.1/", "user name"),
     ("http://127.0.0.1:99999/", "port must be"), ("http://[", "cannot be reached"), ("javascript:x", "must begin")],
)  # fmt: skip
async def test_nonsense_that_a_page_names_is_refused(named, words):
    with pytest.raises(InputError, match=words):
        await fetch_page(page(f'<meta property="og:image" content="{named}">'))


async def test_a_page_that_names_a_page_is_the_end():
    async with serve(body(page('<meta property="og:image" content="/next">'))) as server:
        with pytest.raises(InputError, match="web page that names no picture: open the page"):
            await get(server.url())
    assert len(server.requests) == 2


async def test_the_picture_of_a_page_counts_as_a_redirect():
    with pytest.raises(InputError, match="redirects too often"):
        await fetch_page(
            page('<meta property="og:image" content="/picture.png">'), limits=replace(LIMITS, url_max_redirects=0)
        )


async def test_a_hostile_page_takes_no_long_time():
    """The page is so large that a parser of quadratic time would run into the test's timeout."""
    limits = replace(LIMITS, max_bytes=25 * 2**20, url_timeout=60)
    for part in (b"<", b"<!--", b"<a ", b"<meta content=x>", b"</", b"<![CDATA[", b"&", b"<div>"):
        content = b"<html>" + part * (2**20 // len(part))
        with pytest.raises(InputError, match="web page"):
            await fetch_page(content, limits=limits)


@pytest.mark.parametrize(
    ("link", "direct"),
    [
        ("www.dropbox.com/s/abc/a%20b.jpg?dl=0", "/s/abc/a%20b.jpg?raw=1"),
        ("www.dropbox.com/scl/fi/abc/a.jpg?rlkey=k&st=s&dl=0", "/scl/fi/abc/a.jpg?rlkey=k&st=s&raw=1"),
        ("drive.google.com/file/d/ID_-9/view?usp=sharing", "/uc?export=download&id=ID_-9"),
        ("drive.google.com/open?id=ID9&usp=drive_copy", "/uc?export=download&id=ID9"),
        ("github.com/o/r/blob/main/d/a%20b.png?raw=true#x", "/o/r/raw/main/d/a%20b.png"),
        ("commons.wikimedia.org/wiki/File:A_%C3%BC.svg", "/wiki/Special:FilePath/A_%C3%BC.svg?width=1280"),
        ("en.m.wikipedia.org/wiki/File:Cat03.jpg?uselang=de", "/wiki/Special:FilePath/Cat03.jpg?width=1280"),
        ("en.wikipedia.org/wiki/Cat#/media/File:Cat03.jpg", "/wiki/Special:FilePath/Cat03.jpg?width=1280"),
        ("www.google.com/imgres?imgurl=%2Fa.png&tbnid=x", "/a.png"),
        # not their pages
        ("github.com/o/r/raw/main/a.png", "/o/r/raw/main/a.png"),
        ("github.com/o/blob", "/o/blob"),
        ("drive.google.com/file/d/", "/file/d/"),
        ("drive.google.com/uc?export=download&id=ID9", "/uc?export=download&id=ID9"),
        ("www.dropbox.com/home?dl=0", "/home?dl=0"),
        ("en.wikipedia.org/wiki/Cat", "/wiki/Cat"),
        ("upload.wikimedia.org/wikipedia/commons/3/3a/Cat03.jpg", "/wikipedia/commons/3/3a/Cat03.jpg"),
        ("notgithub.com/o/r/blob/main/a.png", "/o/r/blob/main/a.png"),
        ("github.com.evil.test/o/r/blob/main/a.png", "/o/r/blob/main/a.png"),
    ],
)
async def test_pages_of_services_are_asked_for_their_pictures(link, direct):
    host, slash, rest = link.partition("/")
    async with serve(body(PNG)) as server:
        resolver = names(**{host.replace(".", "_"): [FIRST]})
        assert await get(server.url(slash + rest, host=host), resolver=resolver) == PNG
        # by a redirect, as link shorteners lead there
        async with serve(redirect(server.url(slash + rest, host=host))) as shortener:
            assert await get(shortener.url(), resolver=resolver) == PNG
    assert [request.split()[1] for request in server.requests] == [direct] * 2


@given(st.text(max_size=80) | st.from_regex(r"(https?:)?//[^/]{0,20}(:[-0-9]{1,6})?/.{0,20}"))
@settings(max_examples=300, deadline=None)
def test_whatever_is_typed_is_a_picture_or_one_sentence(text):
    async def nowhere(host):
        raise OSError

    with pytest.raises(InputError) as refusal:
        asyncio.run(get(text, resolver=nowhere, allow=lambda _: False))
    assert str(refusal.value).endswith(".")


@pytest.mark.parametrize("fault", [RuntimeError, OverflowError, ValueError, KeyError, AttributeError, RecursionError])
async def test_no_fault_of_one_link_reaches_another(fault, caplog):
    async def resolver(host):
        raise fault("secret.test")

    with pytest.raises(InputError, match="cannot be reached"):
        await get("http://secret.test/", resolver=resolver)
    assert "secret" not in caplog.text


@pytest.mark.parametrize("status", ["404 secret reason", "500 secret reason", "204 secret reason", "302 secret reason"])
async def test_what_the_server_says_is_never_echoed(status):
    async with serve(
        body(b"" if status[0] == "2" else b"secret body", "X-Secret: secret header", status=status)
    ) as server:
        with pytest.raises(InputError, match=f"status {status[:3]}") as refusal:
            await get(server.url("/secret-path"))
    assert "secret" not in str(refusal.value)
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None


async def test_nonsense_instead_of_http():
    async with serve(lambda _, writer: asyncio.sleep(0, writer.write(b"SSH-2.0-secret\r\n\r\n"))) as server:
        with pytest.raises(InputError, match="cannot be reached") as refusal:
            await get(server.url())
    assert "secret" not in str(refusal.value)


async def test_every_address_of_a_name_must_pass():
    async with serve(body(PNG)) as server:
        with pytest.raises(InputError, match="public address"):
            await get(server.url(host="mixed.test"), resolver=names(mixed_test=[FIRST, FORBIDDEN]))
        with pytest.raises(InputError, match="cannot be reached"):
            await get(server.url(host="none.test"), resolver=names(none_test=[]))
    assert server.requests == []


async def test_a_name_that_changes_its_address_gains_nothing():
    answers = [[FIRST], [FORBIDDEN]]

    async def rebinding(host):
        return answers.pop(0)

    async with serve(body(PNG)) as server, serve(body(b"inner"), host=str(FORBIDDEN), port=server.port) as inner:
        assert await get(server.url(host="rebind.test"), resolver=rebinding) == PNG
    assert answers == [[FORBIDDEN]]
    assert f"Host: rebind.test:{server.port}" in server.requests[0]
    assert inner.requests == []


async def test_a_name_is_resolved_and_checked_again_at_a_redirect():
    resolver = names(first_test=[FIRST], second_test=[FORBIDDEN])
    async with (
        serve(body(PNG), host=str(FORBIDDEN)) as inner,
        serve(redirect(inner.url(host="second.test"))) as server,
    ):
        with pytest.raises(InputError, match="public address"):
            await get(server.url(host="first.test"), resolver=resolver)
    assert resolver.asked == ["first.test", "second.test"]
    assert inner.requests == []


async def test_the_next_address_is_tried_when_one_does_not_answer():
    async with serve(body(PNG), host=str(FIRST)) as server:
        url = server.url(host="two.test")
        assert await get(url, resolver=names(two_test=[SECOND, FIRST])) == PNG


async def test_environment_proxies_are_ignored(monkeypatch):
    async with serve(body(b"proxied")) as proxy, serve(body(PNG)) as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url())
        assert await get(server.url()) == PNG
    assert proxy.requests == []


def server_tls(seen=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    if seen is not None:
        context.sni_callback = lambda _, name, __: seen.append(name)
    return context


async def test_the_certificate_is_checked_for_the_name_though_the_address_is_pinned():
    seen = []
    trusting = ssl.create_default_context(cafile=PEM)
    resolver = names(picture_test=[FIRST], other_test=[FIRST])
    async with serve(body(PNG), tls=server_tls(seen)) as server:
        assert await get(server.url(host="picture.test", scheme="https"), resolver=resolver, tls=trusting) == PNG
        with pytest.raises(InputError, match="cannot be reached"):
            await get(server.url(host="other.test", scheme="https"), resolver=resolver, tls=trusting)
        with pytest.raises(InputError, match="cannot be reached"):  # certifi's authorities do not know it
            await get(server.url(host="picture.test", scheme="https"), resolver=resolver)
    assert seen == ["picture.test", "other.test", "picture.test"]
    assert len(server.requests) == 1


async def test_cookies_of_one_server_do_not_reach_another():
    async with serve(body(PNG)) as last:
        first = body(b"", f"Location: {last.url(host='127.0.0.2')}", "Set-Cookie: secret=1", status="302 Found")
        async with serve(body(PNG), host="127.0.0.2", port=last.port) as other, serve(first) as server:
            assert await get(server.url()) == PNG
    assert "secret" not in other.requests[0]


async def test_no_link_is_logged(caplog):
    caplog.set_level(logging.DEBUG)
    async with serve(redirect("/secret-place")) as server:
        with pytest.raises(InputError):
            await get(server.url("/secret-path"))
    assert len(server.requests) > 1
    assert "secret" not in caplog.text
    assert "127.0.0.1" not in caplog.text
