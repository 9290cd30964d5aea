"""Who may request which route."""

import pytest

from imgcap.web.gate.access import find_access


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
