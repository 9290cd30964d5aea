"""Access tokens: programs and agents call the API without the account's password."""

import logging

import httpx
import pytest
from gradio_client import Client, handle_file
from running import PASSWORD, SHARP

from imgcap.accounts.tokens import PREFIX


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def ada(launched):
    """A token of a new account."""
    name = f"ada{len(launched.services.accounts.list())}"
    user = launched.services.accounts.create(name, PASSWORD)
    return user, launched.services.tokens.add(user.id, "agent")


@pytest.mark.parametrize("way", ["token", "header"])
def test_gradio_client_needs_a_token_and_no_password(launched, ada, way):
    user, token = ada
    given = {"token": token} if way == "token" else {"headers": bearer(token)}
    client = Client(launched.url, verbose=False, **given)
    reading = client.predict(handle_file(SHARP), api_name="/caption")
    assert reading["caption"]
    assert reading["error"] is None
    client.close()
    (kept,) = launched.services.history.search(user.id)
    assert kept.caption == reading["caption"]
    assert launched.services.tokens.list(user.id)[0].last_used_at


def test_plain_requests_upload_ask_and_read_with_a_token_and_only_its_owner_reads(launched, ada, member):
    _, token = ada
    with httpx.Client(base_url=launched.url, headers=bearer(token), timeout=60) as agent:
        with SHARP.open("rb") as photo:
            (path,) = agent.post("/gradio_api/upload", files={"files": photo}).json()
        event = agent.post("/gradio_api/call/v2/check", json={"image": {"path": path}}).json()["event_id"]
        assert member.get(f"/gradio_api/call/check/{event}").status_code == 404
        assert member.get(f"/gradio_api/file={path}").status_code == 403
        assert '"valid": true' in agent.get(f"/gradio_api/call/check/{event}").text
        assert agent.get("/history.json").status_code == 200
        assert agent.get("/history.csv").text.startswith("id,time,")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/account"),
        ("GET", "/account/data"),
        ("GET", "/history"),
        ("GET", "/logout"),
        ("POST", "/account/password"),
        ("POST", "/account/delete"),
        ("POST", "/account/tokens"),
        ("POST", "/account/tokens/revoke"),
        ("POST", "/history/delete"),
        ("POST", "/history/edit"),
        ("POST", "/logout"),
    ],
)
def test_a_token_opens_no_page_of_a_person(open_app, method, path):
    client, services = open_app()
    token = services.tokens.add(services.accounts.create("ada", PASSWORD).id, "agent")
    answer = client.request(method, path, headers=bearer(token))
    assert answer.status_code == 403
    assert "sign in for this page" in answer.json()["detail"]


def test_a_wrong_token_is_told_so_and_tries_are_counted_by_address(open_app, caplog):
    caplog.set_level(logging.DEBUG)
    client, services = open_app(sign_in_per_address="3/hour")
    user = services.accounts.create("ada", PASSWORD)
    token = services.tokens.add(user.id, "agent")
    revoked = services.tokens.add(user.id, "revoked")
    services.tokens.revoke(user.id, "revoked")
    answers = [client.get("/history.json", headers=bearer(wrong)) for wrong in (revoked, PREFIX + "x", PREFIX, PREFIX)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert "unknown, revoked or expired" in answers[0].json()["detail"]
    assert int(answers[-1].headers["retry-after"]) > 0
    # Who has the right one is not kept out by others behind the same address.
    assert client.get("/history.json", headers=bearer(token)).json() == []
    assert token not in caplog.text
    assert revoked not in caplog.text


def test_what_is_sent_as_another_kind_of_token_is_left_alone(open_app):
    client, services = open_app()
    services.accounts.create("ada", PASSWORD)
    services.sessions["session"] = "ada"
    client.cookies.set(services.cookies.plain_name, "session")
    for other in ("Bearer hf_abcdef", "Basic YTpi", "Bearer", "Bearer "):  # a Space's proxy, say, adds its own
        assert client.get("/history.csv", headers={"Authorization": other}).status_code == 200
    client.cookies.clear()
    answer = client.get("/history.csv", headers={"Authorization": "Bearer hf_abcdef"})
    assert answer.status_code == 401
    assert "access token" in answer.json()["detail"]


def test_a_token_in_the_cookie_or_a_session_in_the_header_opens_nothing(open_app):
    client, services = open_app()
    user = services.accounts.create("ada", PASSWORD)
    services.sessions["session"] = "ada"
    assert client.get("/history.csv", headers=bearer("session")).status_code == 401
    client.cookies.set(services.cookies.plain_name, services.tokens.add(user.id, "agent"))
    assert client.get("/history.csv").status_code == 401


def test_a_token_is_no_way_around_what_other_sites_may_not_do(open_app):
    client, services = open_app()
    token = services.tokens.add(services.accounts.create("ada", PASSWORD).id, "agent")
    assert client.get("/history.csv", headers={**bearer(token), "Sec-Fetch-Site": "cross-site"}).status_code == 403
