"""The app's own pages behind the guard, in this process and without Gradio."""

import asyncio
import csv
import io
import re
import zipfile

import numpy as np
import pytest
from PIL import Image
from running import PASSWORD

from imgcap.accounts.history import make_thumbnail
from imgcap.accounts.throttling import Throttle
from imgcap.reading import Reading
from imgcap.web.presentation.gauge import CSS
from imgcap.web.routes import PREVIEW_SIDE

OTHER = "another long password"


def register(client, name="ada", password=PASSWORD):
    return client.post("/login/register", data={"username": name, "password": password})


def sign_in(client, name="ada", password=PASSWORD):
    return client.post("/login/form", data={"username": name, "password": password})


def add_reading(services, user, caption="A dog runs on the beach.", **fields):
    reading = Reading("a.jpg", True, None, 321.0, 5.0, caption)
    thumbnail = make_thumbnail(np.zeros((4, 4, 3), np.uint8))
    return services.history.add(services.accounts.get(user).id, Reading(**{**vars(reading), **fields}), thumbnail)


def errors(answer):
    return re.findall(r'role="alert"[^>]*><strong>Not done.</strong> ([^<]+)<', answer.text)


class TestSigningIn:
    def test_a_newcomer_registers_and_is_signed_in(self, open_app):
        client, _ = open_app()
        assert client.get("/account").headers["location"] == "/login?next=%2Faccount"
        answer = register(client, " Ada ")
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert "<strong>ada</strong>" in client.get("/account").text

    def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(self, open_app):
        client, _ = open_app()
        register(client)
        client.cookies.clear()
        wrong, unknown = sign_in(client, password="wrong"), sign_in(client, name="eve")
        assert wrong.status_code == unknown.status_code == 400
        assert errors(wrong) == errors(unknown) == ["The name or the password is wrong; type both again."]
        assert wrong.text.replace("ada", "eve") == unknown.text

    @pytest.mark.parametrize(
        ("name", "password", "sentence", "field"),
        [
            ("ada", "short", "too short", "password"),
            ("a", PASSWORD, "3 to 32", "username"),
            ("", "", "3 to 32", "username"),
            ("ada", "ada" * 10, "password", "password"),
        ],
    )
    def test_a_registration_that_breaks_a_rule_is_refused_in_a_sentence(
        self, open_app, name, password, sentence, field
    ):
        client, _ = open_app()
        answer = register(client, name, password)
        assert answer.status_code == 400
        assert sentence in errors(answer)[0]
        assert re.findall(r'id="(\w+)"[^>]* aria-invalid="true" autofocus', answer.text) == [field]
        assert "set-cookie" not in answer.headers

    def test_a_taken_name_is_refused(self, open_app):
        client, _ = open_app()
        register(client)
        assert errors(register(client, "ADA")) == ["That name is taken; choose another."]

    def test_closed_registration_says_so(self, open_app):
        client, _ = open_app(open_registration=False)
        assert "Registration is closed" in client.get("/login/register").text
        assert "/login/register" not in client.get("/login").text
        assert "closed" in errors_or_text(register(client))

    def test_what_was_typed_is_escaped(self, open_app):
        client, _ = open_app()
        answer = sign_in(client, name='"><script>alert(1)</script>')
        assert "<script>" not in answer.text

    def test_signing_in_again_ends_the_session_before(self, open_app):
        client, services = open_app()
        register(client)
        first = client.cookies[services.cookies.plain_name]
        sign_in(client)
        assert first not in services.sessions
        assert client.cookies[services.cookies.plain_name] in services.sessions

    def test_the_pages_speak_the_language_of_password_managers(self, open_app):
        client, _ = open_app()
        assert 'autocomplete="current-password"' in client.get("/login").text
        assert 'autocomplete="new-password"' in client.get("/login/register").text
        assert 'autocomplete="username"' in client.get("/login").text

    def test_the_query_survives_the_way_to_the_sign_in_page(self, open_app):
        client, _ = open_app()
        assert client.get("/?__theme=dark&__sign=a%2Fb").headers["location"] == "/login?__theme=dark&__sign=a%2Fb"


def errors_or_text(answer):
    return " ".join(errors(answer)) or answer.text


class TestCookie:
    def test_over_http_it_is_lax_and_hidden_from_scripts(self, open_app):
        client, services = open_app()
        cookie = register(client).headers["set-cookie"]
        assert cookie.startswith(f"{services.cookies.plain_name}=")
        assert set(cookie.split("; ")[1:]) == {"Path=/", "Max-Age=2592000", "HttpOnly", "SameSite=Lax"}

    def test_over_https_it_is_secure(self, open_app):
        client, services = open_app()
        client.base_url = "https://testserver"
        cookie = register(client).headers["set-cookie"]
        assert cookie.startswith(f"{services.cookies.secure_name}=")
        assert {"HttpOnly", "SameSite=Lax", "Secure"} <= set(cookie.split("; "))

    def test_embedded_it_is_partitioned(self, open_app):
        client, _ = open_app(embedded=True)
        cookie = register(client).headers["set-cookie"]
        assert {"HttpOnly", "SameSite=None", "Secure", "Partitioned"} <= set(cookie.split("; "))


class TestSigningOut:
    def test_here(self, open_app):
        client, services = open_app()
        register(client)
        token, elsewhere = client.cookies[services.cookies.plain_name], "another session's token"
        services.sessions[elsewhere] = "ada"
        answer = client.post("/logout")
        assert "You are signed out." in answer.text
        assert token not in services.sessions
        assert elsewhere in services.sessions
        assert client.get("/account").status_code == 303

    def test_everywhere(self, open_app):
        client, services = open_app()
        register(client)
        services.sessions["another session's token"] = "ada"
        client.post("/logout", data={"everywhere": "1"})
        assert len(services.sessions) == 0

    def test_a_link_alone_does_not(self, open_app):
        client, _ = open_app()
        register(client)
        assert "Sign out everywhere" in client.get("/logout").text
        assert client.get("/account").status_code == 200


class TestAccount:
    def test_a_new_password_ends_the_other_sessions(self, open_app):
        client, services = open_app()
        register(client)
        services.sessions["another session's token"] = "ada"
        answer = client.post("/account/password", data={"current": PASSWORD, "new": OTHER})
        assert "Your password is changed." in answer.text
        assert "another session's token" not in services.sessions
        assert client.get("/account").status_code == 200
        assert sign_in(client, password=PASSWORD).status_code == 400
        assert sign_in(client, password=OTHER).status_code == 303

    @pytest.mark.parametrize(("current", "new"), [("wrong", OTHER), (PASSWORD, "short"), ("", "")])
    def test_a_password_that_cannot_be_changed_stays(self, open_app, current, new):
        client, _ = open_app()
        register(client)
        answer = client.post("/account/password", data={"current": current, "new": new})
        assert (answer.status_code, len(errors(answer))) == (400, 1)
        assert sign_in(client).status_code == 303

    def test_all_of_it_can_be_downloaded(self, open_app):
        client, services = open_app()
        register(client)
        add_reading(services, "ada")
        answer = client.get("/account/data")
        assert "attachment" in answer.headers["content-disposition"]
        archive = zipfile.ZipFile(io.BytesIO(answer.content))
        assert {"account.json", "history.csv"} < set(archive.namelist())
        assert b"A dog runs on the beach." in archive.read("history.csv")

    def test_an_access_token_is_made_with_the_password_shown_once_and_revoked(self, open_app):
        client, services = open_app()
        register(client)
        asked = {"name": "my <b>agent</b>", "days": "30", "password": PASSWORD}
        for wrong in ({"password": "wrong"}, {"name": ""}, {"days": "0"}, {"days": "x"}):
            refused = client.post("/account/tokens", data=asked | wrong)
            assert (refused.status_code, len(errors(refused))) == (400, 1)
        page = client.post("/account/tokens", data=asked).text
        (token,) = re.findall(r'value="(imgcap_[^"]+)"', page)
        assert "Copy your token now" in page
        assert client.get("/history.json", headers={"Authorization": f"Bearer {token}"}).status_code == 200
        page = client.get("/account").text
        assert "imgcap_" not in page
        assert "my &lt;b&gt;agent&lt;/b&gt;" in page
        assert "last used" in page
        page = client.post("/account/tokens/revoke", data={"name": asked["name"]}).text
        assert "is revoked." in page
        assert services.tokens.find(token) is None
        assert len(errors(client.post("/account/tokens/revoke", data={"name": asked["name"]}))) == 1

    def test_it_is_deleted_on_giving_the_password(self, open_app):
        client, services = open_app()
        register(client)
        refused = client.post("/account/delete", data={"password": "wrong"})
        assert (refused.status_code, len(errors(refused))) == (400, 1)
        assert "are deleted" in client.post("/account/delete", data={"password": PASSWORD}).text
        assert client.get("/account").status_code == 303
        assert services.accounts.list() == []
        assert register(client).status_code == 303


class TestHistory:
    def test_shows_what_was_read_newest_first(self, open_app):
        client, services = open_app()
        register(client)
        assert "Nothing here yet" in client.get("/history").text
        first = add_reading(services, "ada", "A cat <b>sleeps</b>.")
        add_reading(services, "ada", None, valid=False, reason="blurred", blur_variance=2.0)
        page = client.get("/history").text
        assert page.index("Invalid: blurred") < page.index("A cat &lt;b&gt;sleeps&lt;/b&gt;.")
        assert client.get(f"/history/{first}.jpg").headers["content-type"] == "image/jpeg"

    def test_is_searched(self, open_app):
        client, services = open_app()
        register(client)
        add_reading(services, "ada", "A cat sleeps.")
        add_reading(services, "ada", "A dog runs.")
        page = client.get("/history", params={"q": "dog"}).text
        assert "A dog runs." in page
        assert "A cat sleeps." not in page
        assert "1 reading with “dog”" in page

    @pytest.mark.parametrize(
        "asked", [{"page": "0"}, {"page": "99"}, {"page": "-1"}, {"page": "x"}, {"page": "9" * 99}]
    )
    def test_any_page_number_shows_a_page(self, open_app, asked):
        client, services = open_app()
        register(client)
        for number in range(21):
            add_reading(services, "ada", f"Picture number {number}.")
        assert "of 2" in client.get("/history", params=asked).text

    def test_one_or_all_are_deleted(self, open_app):
        client, services = open_app()
        register(client)
        first, _ = add_reading(services, "ada", "A cat sleeps."), add_reading(services, "ada")
        page = client.post("/history/delete", data={"entry": str(first)}).text
        assert "The reading is deleted." in page
        assert "A cat sleeps." not in page
        assert "1 reading deleted." in client.post("/history/delete", data={"all": "1"}).text
        assert services.history.count(services.accounts.get("ada").id) == 0

    def test_a_reading_is_opened_again_edited_and_restored(self, open_app):
        client, services = open_app()
        register(client)
        entry = add_reading(services, "ada", "A dog runs.", warning="unfamiliar", confidence=0.4)
        page = client.get(f"/history/{entry}?q=dog").text
        assert "Laplacian variance 321" in page
        assert "does not look like the photographs" in page
        assert '"/history?q=dog"' in page  # back to where it was found
        page = client.post("/history/edit", data={"entry": entry, "caption": " Rex <i>runs</i>. "}).text
        assert "Your caption is saved." in page
        assert "Rex &lt;i&gt;runs&lt;/i&gt;." in page
        assert '<q lang="en">A dog runs.</q>' in page
        for place in ("/history", "/history?q=rex", "/history?q=dog"):
            assert "Edited by you" in client.get(place).text
        too_long = client.post("/history/edit", data={"entry": entry, "caption": "dog " * 200})
        assert (too_long.status_code, len(errors(too_long))) == (400, 1)
        assert "dog dog dog" in too_long.text  # what was typed is not lost
        page = client.post("/history/edit", data={"entry": entry, "restore": "1"}).text
        assert "The model&#39;s caption is back." in page
        assert "Rex" not in page

    def test_the_models_caption_is_mentioned_only_where_there_is_one(self, open_app):
        client, services = open_app()
        register(client)
        captioned = add_reading(services, "ada")
        blurred = add_reading(services, "ada", None, valid=False, reason="blurred")
        assert "Kept beside the model" in client.get(f"/history/{captioned}").text
        page = client.get(f"/history/{blurred}").text
        assert "Kept beside the model" not in page
        assert "At most 500 characters." in page

    def test_each_language_shows_it(self, open_app):
        client, services = open_app()
        register(client)
        entry = add_reading(services, "ada")
        for language, title in (("es", "Tu historial"), ("de", "Dein Verlauf")):
            answer = client.post("/language", data={"language": language, "next": f"/history/{entry}"})
            assert answer.headers["location"] == f"/history/{entry}"
            assert f'<html lang="{language}">' in client.get(f"/history/{entry}").text
            assert title in client.get("/history").text
            assert client.get("/account").status_code == 200

    def test_is_exported(self, open_app):
        client, services = open_app()
        register(client)
        add_reading(services, "ada", "=HYPERLINK(1)")
        rows = list(csv.DictReader(io.StringIO(client.get("/history.csv").text)))
        assert [row["caption"] for row in rows] == ["'=HYPERLINK(1)"]
        answer = client.get("/history.json")
        assert "attachment" in answer.headers["content-disposition"]
        assert [row["caption"] for row in answer.json()] == ["=HYPERLINK(1)"]

    def test_of_another_user_is_out_of_reach(self, open_app):
        client, services = open_app()
        register(client, "ada")
        entry = add_reading(services, "ada", "A secret place.")
        register(client, "eve")
        assert "secret" not in client.get("/history").text
        assert client.get(f"/history/{entry}.jpg").status_code == 404
        assert client.get(f"/history/{entry}").status_code == 404
        assert client.post("/history/edit", data={"entry": entry, "caption": "Mine."}).status_code == 404
        for wrong in (str(entry), "", "x", "-1"):
            assert len(errors(client.post("/history/delete", data={"entry": wrong}))) == 1
        client.post("/history/delete", data={"all": "1"})
        assert services.history.count(services.accounts.get("ada").id) == 1
        assert "secret" not in client.get("/history.csv").text


class TestThrottling:
    def test_registrations_from_one_address(self, open_app):
        client, _ = open_app(registrations_per_address="3/hour")
        answers = [register(client, f"user{n}") for n in range(4)]
        assert [answer.status_code for answer in answers] == [303, 303, 303, 429]
        assert int(answers[-1].headers["retry-after"]) > 0
        assert "Too many tries to register" in errors(answers[-1])[0]

    def test_guessing_one_accounts_password(self, open_app):
        client, _ = open_app(sign_in_per_account="3/hour")
        register(client)
        client.cookies.clear()
        answers = [sign_in(client, password=f"guess {n}") for n in range(3)] + [sign_in(client)]
        assert [answer.status_code for answer in answers] == [400, 400, 400, 429]
        assert "Too many tries to sign in" in errors(answers[-1])[0]

    def test_guessing_it_on_the_account_page_counts_too(self, open_app):
        client, _ = open_app(sign_in_per_account="2/hour")
        register(client)
        answers = [client.post("/account/delete", data={"password": f"guess {n}"}) for n in range(2)]
        answers.append(client.post("/account/password", data={"current": "guess", "new": OTHER}))
        assert [answer.status_code for answer in answers] == [400, 400, 429]


class TestGuardAround:
    def test_nobody_is_answered_before_sessions_are_in_place(self, open_app):
        client, services = open_app()
        services.lifecycle.ready = False
        answer = client.get("/login")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")

    def test_headers(self, open_app):
        client, _ = open_app(frame_ancestors="'self' https://frames.test")
        headers = client.get("/login").headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["content-security-policy"].endswith("frame-ancestors 'self' https://frames.test")
        assert headers["permissions-policy"].startswith("camera=(self), microphone=()")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        assert "x-frame-options" not in headers
        assert "strict-transport-security" not in headers
        client.base_url = "https://testserver"
        assert "strict-transport-security" in client.get("/login").headers

    def test_huggingface_may_frame_the_page_by_default(self, open_app):
        client, _ = open_app()
        assert (
            "frame-ancestors 'self' https://huggingface.co" in client.get("/login").headers["content-security-policy"]
        )

    def test_a_form_of_another_site_does_nothing(self, open_app):
        client, services = open_app()
        register(client)
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://elsewhere.test"}):
            answer = client.post("/account/delete", data={"password": PASSWORD}, headers=headers)
            assert answer.status_code == 403
        assert len(services.accounts.list()) == 1

    def test_a_form_as_large_as_a_picture_is_refused(self, open_app):
        client, _ = open_app()
        answer = client.post("/login/form", data={"username": "x" * 2**17, "password": "y"})
        assert answer.status_code == 413

    def test_a_stopping_server_says_so_to_whoever_watches(self, open_app):
        client, services = open_app()
        assert client.get("/gradio_api/healthz").json() == {"status": "ok"}
        services.lifecycle.draining = True
        assert client.get("/gradio_api/healthz").status_code == 503


def test_the_privacy_notice_tells_the_settings(open_app):
    client, _ = open_app(upload_hours=3, session_days=12.5, operator="the <Photo> Club")
    notice = client.get("/privacy").text
    assert "after 3 h" in notice
    assert "after 12.5 days" in notice
    assert "the &lt;Photo&gt; Club" in notice


@pytest.mark.parametrize("path", ["/privacy", "/nothing-here", "/logout"])
def test_every_page_leads_a_signed_in_person_back_to_their_photos(open_app, path):
    client, _ = open_app()
    if path == "/privacy":
        assert 'action="/logout"' not in client.get(path).text
    register(client, "ada")
    page = client.get(path, headers={"accept": "text/html"}).text
    assert 'href="/history"' in page
    assert 'action="/logout"' in page
    assert 'href="/login"' not in page
    assert 'href="/history"' not in client.post("/logout").text


def test_the_badge_has_its_style_on_every_page(open_app):
    client, _ = open_app()
    assert client.get("/pages/gauge.css").text == CSS


def test_logs_hold_no_name_no_password_and_no_caption(open_app, caplog):
    caplog.set_level("DEBUG")
    client, services = open_app()
    register(client, "adalovelace")
    add_reading(services, "adalovelace", "A secret place.")
    sign_in(client, "adalovelace", "a wrong password")
    client.get("/history", params={"q": "secret"})
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("imgcap"))
    assert not re.search(f"adalovelace|secret|{PASSWORD}|a wrong password", ours)


class TestPreview:
    def test_shows_an_upload_to_its_owner_alone(self, open_app):
        client, services = open_app()
        register(client, "ada")
        path = services.uploads.folder / "photo.tiff"
        Image.new("RGB", (3000, 1500), "red").save(path)
        services.uploads.add(path, services.accounts.get("ada").id)
        answer = client.get("/preview", params={"path": str(path)})
        assert answer.headers["content-type"] == "image/jpeg"
        with Image.open(io.BytesIO(answer.content)) as shown:
            assert max(shown.size) == PREVIEW_SIDE
        for other in ("/etc/passwd", "", "x\0y", str(services.uploads.folder)):
            assert client.get("/preview", params={"path": other}).status_code in {400, 404}
        register(client, "eve")
        assert client.get("/preview", params={"path": str(path)}).status_code == 404


def test_the_manifest_lets_browsers_install_the_app(open_app):
    client, _ = open_app()
    answer = client.get("/manifest.json", headers={"accept-language": "de"})
    assert answer.headers["content-type"] == "application/manifest+json"
    manifest = answer.json()
    assert (manifest["lang"], manifest["display"], manifest["start_url"]) == ("de", "standalone", "/")
    assert {icon["purpose"] for icon in manifest["icons"]} == {"any", "maskable"}
    for icon in manifest["icons"]:
        shown = client.get(icon["src"])
        assert (shown.status_code, shown.headers["content-type"].split(";")[0]) == (200, icon["type"])
        if icon["sizes"] != "any":
            assert "{}x{}".format(*Image.open(io.BytesIO(shown.content)).size) == icon["sizes"]


def test_a_script_edits_a_reading_and_is_answered_in_json(open_app):
    client, services = open_app()
    client.post("/login/register", data={"username": "ada", "password": "correct horse battery staple"})
    reading = Reading(None, True, None, 9.0, 5.0, caption="A dog runs.")
    entry = services.history.add(1, reading, b"jpeg")
    script = {"accept": "application/json"}
    edited = client.post("/history/edit", data={"entry": entry, "caption": "My dog."}, headers=script)
    assert edited.json() == {"caption": "My dog.", "written": "A dog runs."}
    restored = client.post("/history/edit", data={"entry": entry, "restore": "1"}, headers=script)
    assert restored.json() == {"caption": "A dog runs.", "written": "A dog runs."}
    refused = client.post("/history/edit", data={"entry": entry, "caption": " "}, headers=script)
    assert refused.status_code == 400
    assert refused.json()["detail"].endswith(".")


def test_the_event_loop_runs_on_while_requests_are_counted(open_app, monkeypatch):
    client, services = open_app()
    counted = []

    def hit(kind, **_):
        with pytest.raises(RuntimeError):  # a store on another machine may answer late
            asyncio.get_running_loop()
        counted.append(kind)

    monkeypatch.setattr(services.throttle, "hit", hit)
    for path in ("/login", "/login/form", "/login/register"):
        client.post(path, data={"username": "nobody", "password": "wrong"})
    assert counted == ["sign_in", "sign_in", "registration"]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_only_a_count_on_another_machine_is_asked_for_in_a_thread(open_app, monkeypatch, elsewhere):
    client, services = open_app()
    client.post("/login/register", data={"username": "ada", "password": "correct horse battery staple"})
    counted = []

    def check(kind, **_):
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            counted.append("thread")
        else:
            counted.append("loop")

    monkeypatch.setattr(Throttle, "waits", elsewhere)
    monkeypatch.setattr(services.throttle, "check", check)
    client.post("/gradio_api/call/caption", json={"data": []})
    assert counted == 2 * ["thread" if elsewhere else "loop"]
