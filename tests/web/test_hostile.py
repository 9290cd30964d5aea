"""Hostile values on every route: whatever is sent, the answer is a page, JSON or a sentence, and never a traceback."""

import json
import logging
import urllib.parse

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

GETS = [
    "/", "/config", "/login", "/login/register", "/privacy", "/account", "/account/data", "/history", "/history.csv",
    "/history/{}.jpg", "/logout", "/gradio_api/info", "/gradio_api/openapi.json", "/gradio_api/user",
    "/gradio_api/app_id", "/gradio_api/queue/status", "/gradio_api/upload_progress", "/gradio_api/file={}",
    "/gradio_api/call/caption/{}", "/gradio_api/call/v2/check/{}", "/assets/{}", "/static/{}", "/svelte/{}",
    "/pages/{}", "/favicon.ico", "/manifest.json", "/theme.css", "/gradio_api/healthz", "/{}",
]  # fmt: skip
JSON_POSTS = [
    "/gradio_api/call/caption", "/gradio_api/call/check", "/gradio_api/call/v2/caption", "/gradio_api/call/v2/check",
    "/gradio_api/queue/join", "/gradio_api/cancel", "/gradio_api/reset",
]  # fmt: skip
FORM_POSTS = ["/login", "/login/form", "/login/register", "/account/password", "/history/delete"]
QUERIES = ["page", "q", "next", "upload_id", "session_hash", "__theme", "view", "deep_link"]

TEXTS = st.sampled_from(
    ["", "\0", "\ud800", "../../etc/passwd", "%00", "%", "9" * 4301, "-1", "NaN", "'; DROP TABLE users; --", "{{7*7}}",
     "\r\nX: y", "/" * 300, "é" * 200, "http://[", "a" * 3000]
) | st.text(max_size=20)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(
            st.sampled_from(["path", "url", "meta", "_type", "orig_name", "size", "data", "__type__", "is_stream"])
            | TEXTS,
            values,
            max_size=4,
        )
    ),
    max_leaves=6,
)
FIELDS = ["data", "session_hash", "event_id", "fn_index", "image", "url", "length", "trigger_id", "event_data", "x"]
HEADERS = {
    "Origin": ["http://[", "null", "http://x.test", "\\"],
    "Host": ["a/b?c", "[::1", "x.test:99999", "@"],
    "Range": ["bytes=0-1,3-4", "bytes=-1", "bytes=9-1", "bytes=x", "bytes=99999999999999-", "bytes=0-0,"],
    "Accept": ["text/html", "*/*"],
    "Content-Type": ["application/json", "multipart/form-data", "text/plain; charset=x", "\\"],
    "X-Forwarded-For": ["x", "::1, y"],
    "Cookie": ["=", "access-token-imgcap=;;;\\"],
    "If-Modified-Since": ["x"],
    "If-None-Match": ["\\"],
}


@st.composite
def requests(draw):
    headers = {
        name: draw(st.sampled_from(HEADERS[name])) for name in draw(st.sets(st.sampled_from(list(HEADERS)), max_size=2))
    }
    query = "&".join(f"{name}={quote(draw(TEXTS))}" for name in draw(st.sets(st.sampled_from(QUERIES), max_size=2)))
    kind = draw(st.sampled_from(["get", "json", "raw", "form"]))
    if kind == "get":
        path, content = draw(st.sampled_from(GETS)).format(quote(draw(TEXTS))), None
    elif kind == "form":
        path = draw(st.sampled_from(FORM_POSTS))
        content = urllib.parse.urlencode({name: draw(TEXTS) for name in ("username", "password", "next", "entry")},
                                         errors="surrogatepass").encode()  # fmt: skip
        headers = {"Content-Type": "application/x-www-form-urlencoded"} | headers
    else:
        path = draw(st.sampled_from(JSON_POSTS))
        fields = draw(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4))
        content = json.dumps(fields).encode() if kind == "json" else draw(st.binary(max_size=40))
        headers = {"Content-Type": "application/json"} | headers
    return "GET" if kind == "get" else "POST", path + (f"?{query}" if query else ""), headers, content


def quote(text):
    return urllib.parse.quote(text, errors="surrogatepass", safe="/%.")


REPORTED = [
    ("POST", "/gradio_api/call/v2/caption", {}, b'{"nonsense": 1}'),
    ("POST", "/gradio_api/call/v2/caption", {}, b'{"url": "http://host:99999/"}'),
    ("POST", "/gradio_api/call/v2/check", {}, b'{"url": "http://host:-1/a.jpg"}'),
    ("POST", "/gradio_api/call/check", {}, b'{"data": [NaN, null]}'),
    ("POST", "/gradio_api/call/check", {}, b'{"data": ["\\ud800", null]}'),
    ("POST", "/gradio_api/queue/join", {}, b'{"data": [], "session_hash": "s", "fn_index": 99}'),
    ("GET", "/history/" + "9" * 4301 + ".jpg", {}, None),
    ("GET", "/?page=%00", {}, None),
    ("GET", "/?page=%ED%A0%80", {}, None),
    ("GET", "/", {"Origin": "http://["}, None),
    ("GET", "/pages/icon.svg", {"Range": "bytes=0-1,3-4"}, None),
    ("GET", "/assets/" + "e" * 256, {}, None),
    ("GET", "/static/" + "e/" * 2100, {}, None),
]


def ask(member, request):
    method, path, headers, content = request
    if method == "POST" and "json" not in str(headers.get("Content-Type", "json")):
        headers = headers | {}
    try:
        asked = member.build_request(method, path, headers=headers, content=content)
    except (httpx.InvalidURL, UnicodeEncodeError):
        return None
    with member.stream(asked.method, asked.url, headers=asked.headers, content=content) as answer:
        # A stream of events of a session that does not exist never ends: its head is enough.
        endless = answer.headers.get("content-type", "").startswith("text/event-stream")
        return answer.status_code, b"" if endless else answer.read()


@pytest.fixture
def quiet(caplog, capfd):
    """The test fails if an error is logged or a traceback printed while this fixture is in use."""
    caplog.set_level(logging.WARNING)
    yield
    loud = [record for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info]
    assert loud == []
    printed = "".join(capfd.readouterr())
    assert "Traceback" not in printed, printed


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(request=requests())
@example(request=REPORTED[0])
@example(request=REPORTED[1])
@example(request=REPORTED[2])
@example(request=REPORTED[3])
@example(request=REPORTED[4])
@example(request=REPORTED[5])
@example(request=REPORTED[6])
@example(request=REPORTED[7])
@example(request=REPORTED[8])
@example(request=REPORTED[9])
@example(request=REPORTED[10])
@example(request=REPORTED[11])
@example(request=REPORTED[12])
def test_whatever_is_sent_is_answered(member, quiet, request):
    answered = ask(member, request)
    if answered is None:
        return
    status, content = answered
    assert status < 500 or status == 503
    assert b"Traceback" not in content
    assert b"Internal Server Error" not in content
    if request[0] == "POST" and "/call/" in request[1] and status == 200:
        event = json.loads(content)["event_id"]
        kind = "caption" if "caption" in request[1] else "check"
        said = member.get(f"/gradio_api/call/{kind}/{event}").text
        assert "event: complete" in said, said
        assert json.loads(said.partition("data: ")[2].splitlines()[0])[0]["error"]
