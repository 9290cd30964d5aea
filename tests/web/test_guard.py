"""The guard's own decisions; what it does around a running Gradio is in test_server.py."""

import inspect

import pytest
from gradio.blocks import Blocks
from gradio.routes import App
from starlette.exceptions import HTTPException
from starlette.requests import Request

from imgcap.accounts.tables import User
from imgcap.web.guard import check_logins_on_the_event_loop, find_access, is_cross_site
from imgcap.web.requests import ASKER


def request(method: str = "GET", path: str = "/", **headers: str) -> Request:
    raw = [
        (name.replace("_", "-").encode(), value.encode()) for name, value in {"host": "here.test", **headers}.items()
    ]
    scope = {"type": "http", "method": method, "path": path, "headers": raw, "query_string": b"", "server": ("h", 80)}
    return Request({**scope, "scheme": "http"})


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/login", "/login/register", "/privacy", "/gradio_api/healthz", "/assets/index.js"])
def test_strangers_may_read_public_pages(method, path):
    assert find_access(method, path) == "public"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/config"),
        ("GET", "/history"),
        ("GET", "/history/7.jpg"),
        ("POST", "/history/delete"),
        ("POST", "/gradio_api/queue/join"),
        ("POST", "/gradio_api/call/v2/caption"),
        ("GET", "/gradio_api/call/check/0123"),
        ("GET", "/gradio_api/file=/anything/at/all"),
        ("POST", "/gradio_api/upload"),
    ],
)
def test_the_app_is_for_those_who_are_signed_in(method, path):
    assert find_access(method, path) == "signed-in"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gradio_api/token"),
        ("GET", "/monitoring"),
        ("GET", "/monitoring/summary"),
        ("GET", "/gradio_api/runs"),
        ("POST", "/gradio_api/run/caption"),
        ("POST", "/gradio_api/api/caption"),
        ("POST", "/gradio_api/call/describe"),
        ("GET", "/gradio_api/mcp/sse"),
        ("GET", "/gradio_api/proxy=https://x.hf.space/"),
        ("POST", "/gradio_api/vibe-edit"),
        ("GET", "/gradio_api/deep_link"),
        ("DELETE", "/account"),
        ("POST", "/"),
        ("OPTIONS", "/config"),
        ("GET", "//config"),
        ("GET", "/login/../config"),
        ("GET", "/assets/"),
        ("GET", "/config\n"),
        ("GET", "/account/password"),
    ],
)
def test_whatever_is_on_no_list_is_not_there(method, path):
    assert find_access(method, path) == "none"


@pytest.mark.parametrize(
    "asked",
    [
        request("POST", sec_fetch_site="same-origin"),
        request(sec_fetch_site="none"),
        request("POST", origin="http://here.test"),
        request("POST"),  # no browser
        request("GET", "/", sec_fetch_site="cross-site", sec_fetch_mode="navigate"),  # a link, or a frame
        request("GET", "/login", sec_fetch_site="same-site", sec_fetch_mode="navigate"),
    ],
)
def test_own_pages_programs_and_people_who_follow_a_link_are_let_in(asked):
    assert not is_cross_site(asked)


@pytest.mark.parametrize(
    "asked",
    [
        request("POST", "/login/form", sec_fetch_site="cross-site", sec_fetch_mode="navigate"),  # another site's form
        request("POST", "/logout", sec_fetch_site="same-site"),
        request("GET", "/config", sec_fetch_site="cross-site", sec_fetch_mode="cors"),
        request("GET", "/", sec_fetch_site="cross-site", sec_fetch_mode="no-cors"),
        request("GET", "/account/data", sec_fetch_site="cross-site", sec_fetch_mode="navigate"),
        request("GET", "/history.csv", sec_fetch_site="cross-site", sec_fetch_mode="navigate"),
        request("POST", origin="http://elsewhere.test"),
        request("POST", origin="http://here.test.elsewhere.test"),
        request("POST", origin="null"),
        request("POST", origin="http://here.test:8080"),
        request("POST", sec_fetch_site="cross-site", origin="http://here.test"),
    ],
)
def test_requests_that_another_site_makes_a_browser_send_are_refused(asked):
    assert is_cross_site(asked)


async def test_gradios_own_check_of_the_login_needs_no_thread():
    app = App.create_app(Blocks())
    check_logins_on_the_event_loop(app)
    [(gradios, ours)] = app.dependency_overrides.items()
    assert gradios.__name__ == "login_check"
    assert inspect.iscoroutinefunction(ours)
    asked = request()
    with pytest.raises(HTTPException) as refusal:
        await ours(asked)
    assert refusal.value.status_code == 401
    asked.scope[ASKER] = User(id=7, name="ann")
    assert await ours(asked) is None
