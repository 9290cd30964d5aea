"""The guard's own decisions; what it does around a running Gradio is in test_server.py."""

import pytest
from starlette.requests import Request

from imgcap.web.gate.guard import is_cross_site


def request(method: str = "GET", path: str = "/", **headers: str) -> Request:
    raw = [
        (name.replace("_", "-").encode(), value.encode()) for name, value in {"host": "here.test", **headers}.items()
    ]
    scope = {"type": "http", "method": method, "path": path, "headers": raw, "query_string": b"", "server": ("h", 80)}
    return Request({**scope, "scheme": "http"})


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
