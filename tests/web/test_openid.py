"""Signing in with Hugging Face, against an OpenID provider on loopback."""

import io
import json
import zipfile
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from openid_provider import CLIENT, SECRET, openid_provider
from running import PASSWORD

from imgcap.web import openid

ARRIVES = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
"""What a browser says that another site sends here."""


@pytest.fixture
def provider():
    with openid_provider() as running:
        yield running


@pytest.fixture
def visit(open_app, provider):
    """Open an app that offers the sign-in."""

    def open_it(**settings):
        chosen = {"oauth_client_id": CLIENT, "oauth_client_secret": SECRET, "openid_provider_url": provider.url}
        return open_app(**chosen | settings)

    return open_it


def sign_in(client, provider, place="/"):
    left = client.get("/login/huggingface", params={"next": place})
    assert left.status_code == 303, left.text
    callback, query = provider.consent(left.headers["location"])
    return client.get(urlsplit(callback).path, params=query, headers=ARRIVES)


def test_a_person_signs_in_and_comes_back_to_the_page_they_wanted(visit, provider):
    client, services = visit(public_host="me-app.hf.space")
    assert 'href="/login/huggingface?next=/history"' in client.get("/login?next=/history").text
    left = client.get("/login/huggingface?next=/history")
    callback, query = provider.consent(left.headers["location"])
    assert callback == "https://me-app.hf.space/login/callback"
    back = client.get("/login/callback", params=query, headers=ARRIVES)
    assert (back.status_code, back.headers["location"]) == (303, "/history")
    assert "<strong>ada</strong>" in client.get("/account").text
    again = client.get("/login/callback", params=query, headers=ARRIVES)  # a code is good once
    assert again.status_code == 400
    assert len(services.accounts.list()) == 1


def test_who_did_not_leave_from_here_is_not_let_in(visit, provider):
    client, services = visit()
    _callback, query = provider.consent(client.get("/login/huggingface").headers["location"])
    client.cookies.clear()  # somebody else's link, in another browser
    assert openid.STALE in client.get("/login/callback", params=query).text
    for wrong in ({"code": "x"}, {"state": "x", "code": "x"}, {"error": "access_denied"}):
        assert client.get("/login/callback", params=wrong).status_code == 400
    assert services.accounts.list() == []
    assert client.get("/account").status_code == 303


def test_what_a_provider_refuses_or_does_not_say_is_a_sentence(visit, provider):
    client, _services = visit()
    _callback, query = provider.consent(client.get("/login/huggingface").headers["location"])
    assert openid.FAILED in client.get("/login/callback", params=query | {"code": "forged"}).text
    for claims in ({}, {"sub": 7}, {"sub": ""}, {"sub": "x" * 1000}):
        provider.claims = {"more": "so that it is an answer", **claims}
        assert openid.FAILED in sign_in(client, provider).text
    provider.claims = {"sub": "1"}  # without a name
    assert sign_in(client, provider).status_code == 303


def test_a_provider_that_cannot_be_reached_is_a_sentence(visit):
    client, _ = visit(openid_provider_url="http://127.0.0.1:9")
    assert openid.FAILED in client.get("/login/huggingface").text


def test_who_takes_too_long_begins_again(visit, provider, monkeypatch):
    client, _ = visit()
    _, query = provider.consent(client.get("/login/huggingface").headers["location"])
    monkeypatch.setattr(openid, "VISIT_SECONDS", -1)
    assert openid.STALE in client.get("/login/callback", params=query).text


def test_those_who_only_left_fill_no_memory(visit, provider, monkeypatch):
    monkeypatch.setattr(openid, "MAX_VISITS", 3)
    client, services = visit(sign_in_per_address="1000/second")
    for _ in range(5):
        client.get("/login/huggingface")
    assert len(services.openid._visits) == 3


def test_leaving_is_counted_like_any_sign_in(visit):
    client, _ = visit(sign_in_per_address="2/hour")
    assert [client.get("/login/huggingface").status_code for _ in range(3)] == [303, 303, 429]


def test_a_person_without_a_password_needs_none_for_a_while(visit, provider, monkeypatch):
    client, services = visit()
    sign_in(client, provider)
    assert 'id="current" name="current" autocomplete="current-password">' in client.get("/account").text
    monkeypatch.setattr("imgcap.accounts.identities.FRESH", timedelta(0))
    late = client.post("/account/delete", data={"password": ""})
    assert "sign in with Hugging Face again" in late.text
    monkeypatch.undo()
    assert client.post("/account/password", data={"current": "", "new": PASSWORD}).status_code == 200
    assert services.accounts.verify("ada", PASSWORD)
    assert client.post("/account/delete", data={"password": "wrong"}).status_code == 400
    assert client.post("/account/delete", data={"password": ""}).status_code == 200
    assert services.accounts.list() == []


def test_what_is_kept_of_the_account_there_is_said_and_given_out(visit, provider):
    client, _ = visit()
    assert "Your id at Hugging Face" in client.get("/privacy").text
    sign_in(client, provider)
    with zipfile.ZipFile(io.BytesIO(client.get("/account/data").content)) as archive:
        assert json.loads(archive.read("account.json"))["identity"] == f"{provider.url} 42"


def test_a_person_with_a_password_needs_it(visit):
    client, services = visit()
    client.post("/login/register", data={"username": "eve", "password": PASSWORD})
    assert client.post("/account/delete", data={"password": ""}).status_code == 400
    assert [user.name for user in services.accounts.list()] == ["eve"]


def test_where_it_is_not_offered_there_is_no_sign_of_it(open_app):
    client, _ = open_app()
    assert "huggingface" not in client.get("/login").text.lower()
    assert client.get("/login/huggingface").status_code == 404
    assert client.get("/login/callback?state=x&code=y").status_code == 404


def test_in_a_frame_the_provider_opens_in_a_tab_of_its_own(visit):
    client, _ = visit(embedded=True)
    assert 'target="_blank"' in client.get("/login").text
