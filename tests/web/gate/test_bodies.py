import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from imgcap.web.gate import bodies
from imgcap.web.gate.bodies import BodyLimit, parse_object, replay

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_json_objects_are_read(value):
    text = json.dumps(value, ensure_ascii=False)
    try:
        body = text.encode()
    except UnicodeEncodeError:  # a lone surrogate is no character
        with pytest.raises(HTTPException):
            parse_object(json.dumps(value).encode())
    else:
        assert parse_object(body) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1]",
        b"null",
        b'{"data": [NaN]}',
        b'{"data": [-Infinity]}',
        b'{"data": [1e999]}',
        b'{"data": ["\\ud800"]}',
        b'{"\\udfff": 1}',
        b'{"data": ["\xff"]}',
        b'{"data": ' + b"[" * 60_000 + b"]" * 60_000 + b"}",
        b'{"data": [' + b"1" * 5000 + b"]}",
    ],
)
def test_what_python_reads_but_cannot_write_is_refused(body):
    with pytest.raises(HTTPException) as refused:
        parse_object(body)
    assert refused.value.status_code == 400
    assert body.decode(errors="replace") not in str(refused.value.detail) or not body


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_refused(body):
    try:
        assert isinstance(parse_object(body), dict)
    except HTTPException as error:
        assert error.status_code == 400  # noqa: PT017  either is right, and hypothesis draws both


def source(*messages):
    given = iter(messages)

    async def receive():
        message = next(given, None)
        if message is None:
            await asyncio.Event().wait()
        return message

    return receive


def part(body, more=True):
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_body_is_read_whole_and_given_again():
    limit = BodyLimit(source(part(b"ab"), part(b"cd", more=False), {"type": "http.disconnect"}), 10)
    receive = replay(await limit.read_all(), limit.receive)
    assert await receive() == {"type": "http.request", "body": b"abcd", "more_body": False}
    assert await receive() == {"type": "http.disconnect"}


async def test_a_body_that_is_too_large_is_refused_however_it_comes():
    limit = BodyLimit(source(*[part(b"x" * 6)] * 3), 10)
    with pytest.raises(HTTPException) as refused:
        await limit.read_all()
    assert refused.value.status_code == 413


async def test_a_body_that_trickles_is_refused_in_the_end(monkeypatch):
    monkeypatch.setattr(bodies, "SILENT_SECONDS", 0.2)

    async def trickle():
        await asyncio.sleep(0.05)
        return part(b"x")

    limit = BodyLimit(trickle, 1000)
    with pytest.raises(HTTPException) as refused:
        await limit.read_all()
    assert refused.value.status_code == 408


async def test_a_client_that_goes_in_the_middle_is_no_refusal():
    limit = BodyLimit(source(part(b"x"), {"type": "http.disconnect"}), 10)
    with pytest.raises(ConnectionError):
        await limit.read_all()
