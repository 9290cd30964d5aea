"""Every route of the launched app, requested by a stranger: only routes on a reviewed list answer."""

import re

import httpx
from starlette.routing import BaseRoute, Mount, Route

STRANGERS_MAY = {
    ("GET", "/assets/{path:path}"),
    ("GET", "/favicon.ico"),
    ("GET", "/gradio_api/healthz"),
    ("GET", "/gradio_api/theme.css"),
    ("GET", "/login"),
    ("GET", "/login/register"),
    ("GET", "/manifest.json"),
    ("GET", "/pages/gauge.css"),
    ("GET", "/pages/pages.css"),
    ("GET", "/privacy"),
    ("GET", "/robots.txt"),
    ("GET", "/static/{path:path}"),
    ("GET", "/svelte/{path:path}"),
    ("GET", "/theme.css"),
    ("POST", "/language"),
    ("POST", "/login"),
    ("POST", "/login/"),
    ("POST", "/login/form"),
    ("POST", "/login/register"),
}
"""Signing in, registering, the privacy notice, health, and static files."""


def routes_of(routes: list[BaseRoute], prefix: str = "") -> set[tuple[str, str]]:
    found = set()
    for route in routes:
        if isinstance(route, Mount):
            found |= {("GET", f"{prefix}{route.path}/pages.css")} | routes_of(route.routes, prefix + route.path)
        elif isinstance(route, Route):
            found |= {(method, prefix + route.path) for method in route.methods or {"GET"}}
        else:  # FastAPI's included router; its routes bear its prefix already
            found |= routes_of(route.original_router.routes, prefix)
    return found


def fill(path: str) -> str:
    path = path.replace("{path_or_url:path}", "/etc/hostname").replace("{size}", "32").replace("{entry}", "1")
    return re.sub(r"\{[^}]*\}", "x", path)


def is_refused(answer: httpx.Response) -> bool:
    if answer.status_code == 303:
        return re.match(r"/login(\?|$)", answer.headers["location"]) is not None and not answer.content
    return answer.status_code in {401, 403, 404}


def test_no_route_beside_the_listed_ones_answers_a_stranger(launched):
    routes = routes_of(launched.demo.app.routes)
    assert len(routes) > 80, "Gradio's routes were not found"
    with httpx.Client(base_url=launched.url) as stranger:
        answered = {
            (method, path) for method, path in routes if not is_refused(stranger.request(method, fill(path), timeout=5))
        }
    heads = {("HEAD", path) for _, path in STRANGERS_MAY}
    assert answered <= STRANGERS_MAY | heads


def test_no_route_answers_another_sites_script(launched):
    with httpx.Client(
        base_url=launched.url, headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    ) as script:
        for method, path in routes_of(launched.demo.app.routes):
            assert script.request(method, fill(path), timeout=5).status_code == 403, (method, path)


def test_what_gradio_would_open_stays_shut_to_whoever_is_signed_in(launched):
    launched.services.accounts.create("ada", "correct horse battery staple")
    launched.services.sessions["token"] = "ada"
    shut = [
        ("GET", "/gradio_api/token"),
        ("GET", "/monitoring"),
        ("GET", "/monitoring/summary"),
        ("GET", f"/monitoring/{launched.demo.app.analytics_key}"),
        ("GET", "/gradio_api/runs"),
        ("GET", "/gradio_api/startup-events"),
        ("GET", "/gradio_api/deep_link?session_hash=x"),
        ("GET", "/gradio_api/proxy=https://x.hf.space/"),
        ("GET", "/gradio_api/mcp/sse"),
        ("POST", "/gradio_api/mcp/"),
        ("POST", "/gradio_api/run/caption"),
        ("POST", "/gradio_api/api/caption"),
        ("POST", "/gradio_api/run/predict"),
        ("POST", "/gradio_api/call/describe"),
        ("POST", "/gradio_api/process_recording"),
        ("POST", "/gradio_api/vibe-edit"),
        ("POST", "/gradio_api/component_server"),
    ]
    with httpx.Client(base_url=launched.url, cookies={launched.services.cookies.plain_name: "token"}) as client:
        assert client.get("/config").status_code == 200
        for method, path in shut:
            assert client.request(method, path, json={}).status_code == 404, (method, path)


def test_gradio_awaits_the_check_of_a_password(launched):
    # It awaits what inspect.iscoroutinefunction knows; any other coroutine would be true, and let everyone in.
    import inspect

    assert inspect.iscoroutinefunction(launched.demo.app.auth)


def test_sessions_live_in_the_database(launched):
    assert launched.demo.app.tokens is launched.services.sessions
    assert launched.demo.app.cookie_id == launched.services.cookies.id
