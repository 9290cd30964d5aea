"""Refusals: a page with a way back for people, JSON for programs."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import PASSWORD

from imgcap.web.gate.refusals import safe_place

PERSON = {"Accept": "text/html,application/xhtml+xml", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin"}
SCRIPT = {"Accept": "*/*", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}


def register(client):
    assert client.post("/login/register", data={"username": "ada", "password": PASSWORD}).status_code == 303


def link_of(page):
    (link,) = re.findall(r'<p><a href="([^"]*)">', page.text)
    return link


@pytest.mark.parametrize(
    ("method", "path", "place"),
    [
        ("POST", "/history/delete", "/history"),
        ("GET", "/account/data", "/account"),
        ("GET", "/history.csv", "/history"),
    ],
)
def test_who_is_signed_out_is_told_so_and_comes_back_to_the_same_place(open_app, method, path, place):
    client, _ = open_app()
    register(client)
    client.cookies.clear()  # as after signing out in another tab
    page = client.request(method, path, headers=PERSON)
    assert page.status_code == 401
    assert "You are signed out" in page.text
    assert parse_qs(urlsplit(link_of(page)).query) == {"next": [place]}
    form = client.get(link_of(page)).text
    assert f'name="next" value="{place}"' in form
    answer = client.post("/login/form", data={"username": "ada", "password": PASSWORD, "next": place})
    assert (answer.status_code, answer.headers["location"]) == (303, place)


def test_opening_a_page_leads_there_by_way_of_the_sign_in_page(open_app):
    client, _ = open_app()
    link = client.get("/history").headers["location"]
    assert link == "/login?next=%2Fhistory"
    # Whoever has no account yet comes back too, and a mistake on the way loses nothing.
    (registration,) = re.findall(r'href="(/login/register[^"]*)"', client.get(link).text)
    assert 'name="next" value="/history"' in client.get(registration).text
    wrong = client.post("/login/form", data={"username": "ada", "password": "wrong", "next": "/history"})
    assert 'name="next" value="/history"' in wrong.text


def test_a_program_gets_json_with_the_same_sentence(open_app):
    client, _ = open_app()
    for headers in ({}, SCRIPT):
        answer = client.post("/gradio_api/upload", headers=headers)
        assert answer.status_code == 401
        assert "Sign in" in answer.json()["detail"]
        assert answer.json()["sign_in"] == "/login"


@pytest.mark.parametrize(
    ("prepare", "method", "path", "status"),
    [
        (None, "GET", "/nowhere", 404),
        (None, "GET", "/?page=%00", 400),
        (None, "GET", "/?page=history", 404),
        (None, "GET", "/config?page=%ED%A0%80", 404),
        (None, "GET", "/gradio_api/info?page=2", 404),
        ("draining", "POST", "/gradio_api/upload", 503),
        ("starting", "GET", "/history", 503),
        (None, "GET", "/gradio_api/file=/etc/passwd", 403),
        (None, "GET", "/history/99999999999999999999.jpg", 404),
    ],
)
def test_every_refusal_of_the_guard_is_a_page_to_a_person(open_app, prepare, method, path, status):
    client, services = open_app()
    register(client)
    services.lifecycle.draining = prepare == "draining"
    services.lifecycle.ready = prepare != "starting"
    page = client.request(method, path, headers=PERSON)
    assert page.status_code == status
    assert page.headers["content-type"].startswith("text/html")
    (sentence,) = re.findall(r'role="alert">([^<]+)<', page.text)
    assert sentence.strip().endswith(".")
    assert link_of(page) in {"/", "/history", "/account"}
    assert client.request(method, path, headers=SCRIPT).json()["detail"]
    if status == 503:
        assert int(page.headers["retry-after"]) > 0


def test_a_form_that_is_too_large_is_refused_on_a_page(open_app):
    client, _ = open_app()
    page = client.post("/login/form", data={"username": "x" * 2**17}, headers=PERSON)
    assert (page.status_code, page.headers["content-type"]) == (413, "text/html; charset=utf-8")
    assert "larger than" in page.text


def test_an_error_that_nobody_expected_is_a_sentence_and_its_text_is_not_logged(open_app, monkeypatch, caplog):
    client, services = open_app()
    register(client)

    typed = "a secret"

    def fail(*_: object) -> None:
        raise RuntimeError(typed)

    monkeypatch.setattr(services.history, "search", fail)
    page, answer = client.get("/history", headers=PERSON), client.get("/history")
    assert page.status_code == answer.status_code == 500
    assert "Something went wrong" in page.text
    assert "Something went wrong" in answer.json()["detail"]
    assert "RuntimeError in GET /history" in caplog.text
    assert "secret" not in caplog.text + page.text


PLACES = st.text(max_size=30) | st.builds(
    "".join,
    st.lists(st.sampled_from(["/", "\\", "http:", "//evil.test", "@", ".", "history", "?", "#", "\t", "%2f", ":"])),
)


@given(PLACES)
def test_signing_in_never_leads_to_another_site(place):
    safe = safe_place(place)
    parts = urlsplit(safe)
    assert (parts.scheme, parts.netloc) == ("", "")
    assert parts.path in {"/", "/account", "/history"}
    assert not safe.startswith("//")


def test_the_query_of_a_place_is_kept():
    assert safe_place("/history?q=dog&page=2") == "/history?q=dog&page=2"
