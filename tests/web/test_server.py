"""The app as `python app.py` runs it, asked over HTTP and by gradio_client, as programs ask it."""

import io
import json
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image
from running import BLURRED, PASSWORD, ROOT, SHARP, run_app

pytestmark = pytest.mark.timeout(600)
FIELDS = [
    "source", "valid", "reason", "blur_variance", "threshold", "caption", "confidence", "alternatives", "error",
    "warning",
]  # fmt: skip
META = {"_type": "gradio.FileData"}


def upload(client, content=None, name="photo.jpg"):
    answer = client.post("/gradio_api/upload", files={"files": (name, content or SHARP.read_bytes())})
    assert answer.status_code == 200, answer.text
    return answer.json()[0]


def call(client, endpoint="caption", *data, **named):
    """Call the API as curl does: ask, then read the stream of events to its end."""
    if named:
        asked = client.post(f"/gradio_api/call/v2/{endpoint}", json=named)
    else:
        asked = client.post(f"/gradio_api/call/{endpoint}", json={"data": list(data)})
    assert asked.status_code == 200, asked.text
    return read_answer(client, endpoint, asked.json()["event_id"])


def read_answer(client, endpoint, event_id):
    stream = client.get(f"/gradio_api/call/{endpoint}/{event_id}").text
    answer = re.search(r"event: complete\ndata: (.*)", stream)
    assert answer, stream
    return json.loads(answer[1])[0]


class TestEndpoints:
    def test_a_sharp_photo_is_captioned(self, server):
        client = server.newcomer()
        reading = call(client, image={"path": upload(client)})
        assert list(reading) == FIELDS
        assert reading["source"] == "photo.jpg"
        assert reading["valid"] is True
        assert reading["blur_variance"] >= reading["threshold"] == 5.0
        assert re.fullmatch(r"[A-Z][a-z ]+\.", reading["caption"])
        assert reading["error"] is None
        assert reading["alternatives"]
        assert list(reading["alternatives"][0]) == ["caption", "confidence"]

    def test_a_blurred_photo_is_not(self, server):
        client = server.newcomer()
        reading = call(client, image={"path": upload(client, BLURRED.read_bytes(), "clock.png")})
        assert (reading["valid"], reading["caption"], reading["alternatives"]) == (False, None, [])
        assert reading["reason"] == "shaken"
        assert reading["blur_variance"] < reading["threshold"]

    def test_a_check_writes_no_caption_and_keeps_nothing(self, server):
        client = server.newcomer()
        reading = call(client, "check", {"path": upload(client)}, None)
        assert list(reading) == FIELDS
        assert (reading["valid"], reading["caption"], reading["error"]) == (True, None, None)
        assert "Nothing here yet" in client.get("/history").text

    def test_a_caption_is_kept_in_its_users_history(self, server):
        client = server.newcomer()
        caption = call(client, image={"path": upload(client)})["caption"]
        assert caption in client.get("/history").text

    def test_a_link_is_followed(self, server, picture_site):
        reading = call(server.newcomer(), url=f"{picture_site}/photo.jpg")
        assert reading["source"] == f"{picture_site}/photo.jpg"
        assert reading["caption"]

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            ({}, "exactly one of image and url"),
            ({"image": None, "url": "  "}, "exactly one of image and url"),
            ({"image": {"path": "x"}, "url": "http://x.test"}, "exactly one of image and url"),
            ({"image": "photo.jpg"}, "uploaded file"),
            ({"image": 3}, "uploaded file"),
            ({"image": {"path": 3}}, "uploaded file"),
            ({"image": [{"path": "/etc/passwd"}]}, "uploaded file"),
            ({"url": 3}, "url must be a text"),
            ({"url": "ftp://x.test/a.jpg"}, "http"),
            ({"url": "no link"}, "link"),
            ({"url": "http://127.0.0.1:9/"}, "link"),
        ],
    )
    def test_a_users_mistake_is_told_in_one_sentence(self, server, signed_in, given, sentence):
        reading = call(signed_in, **({"length": "normal"} | given))
        assert list(reading) == FIELDS
        assert sentence in reading["error"]
        assert (reading["valid"], reading["caption"], reading["blur_variance"]) == (None, None, None)

    def test_a_wrong_length_is_told_too(self, signed_in):
        reading = call(signed_in, image={"path": upload(signed_in)}, length="endless")
        assert "short, normal or long" in reading["error"]

    @pytest.mark.parametrize("data", [[None], [None, None, "normal", "more", "", "still more"]])
    def test_any_number_of_inputs_is_answered(self, signed_in, data):
        assert "exactly one" in call(signed_in, "caption", *data)["error"]

    @pytest.mark.parametrize(
        ("content", "name"),
        [
            (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "x.svg"),
            (SHARP.read_bytes()[:3000], "cut.jpg"),
            (b"hello", "x.jpg"),
            (b"\0", "x.png"),
        ],
    )
    def test_a_file_that_is_no_picture_is_told_too(self, signed_in, content, name):
        reading = call(signed_in, image={"path": upload(signed_in, content, name)})
        assert reading["error"].count(".") <= 2
        assert reading["error"].endswith(".")
        assert reading["valid"] is None

    def test_a_small_file_of_many_pixels_is_refused(self, signed_in):
        bomb = io.BytesIO()
        Image.fromarray(np.zeros((10_000, 10_000), np.uint8)).save(bomb, "PNG")
        assert "pixels" in call(signed_in, image={"path": upload(signed_in, bomb.getvalue(), "bomb.png")})["error"]

    def test_the_documentation_names_two_endpoints_with_their_inputs(self, signed_in):
        info = signed_in.get("/gradio_api/info").json()
        assert set(info["named_endpoints"]) == {"/caption", "/check"}
        assert info["unnamed_endpoints"] == {}
        parameters = {
            name: [(p["parameter_name"], p["parameter_has_default"], p["parameter_default"]) for p in e["parameters"]]
            for name, e in info["named_endpoints"].items()
        }
        image, url = ("image", True, None), ("url", True, None)
        more = [("length", True, "normal"), ("alternatives", True, 3), ("model", True, "")]
        assert parameters == {"/caption": [image, url, *more], "/check": [image, url]}
        assert "describe it in a sentence" in info["named_endpoints"]["/caption"]["description"]


@pytest.fixture(scope="module")
def signed_in(server):
    """One user for the tests that do not look at a user's data."""
    return server.newcomer()


class TestGradioClient:
    def test_signs_in_and_asks(self, server):
        name = server.newcomer().headers["x-name"]
        client = Client(server.url, auth=(f" {name.upper()} ", PASSWORD), verbose=False)
        reading = client.predict(image=handle_file(SHARP), api_name="/caption")
        assert list(reading) == FIELDS
        assert (reading["source"], reading["valid"]) == ("coffee.jpg", True)
        assert reading["caption"]
        assert client.predict(image=handle_file(BLURRED), api_name="/check")["valid"] is False
        wrong = client.predict(api_name="/caption")
        assert "exactly one" in wrong["error"]

    def test_takes_a_link_for_an_image(self, server, picture_site):
        name = server.newcomer().headers["x-name"]
        client = Client(server.url, auth=(name, PASSWORD), verbose=False)
        reading = client.predict(image=handle_file(f"{picture_site}/photo.jpg"), api_name="/check")
        assert (reading["source"], reading["valid"]) == (f"{picture_site}/photo.jpg", True)

    def test_with_a_wrong_password_is_refused(self, server):
        name = server.newcomer().headers["x-name"]
        with pytest.raises(ValueError, match="login"):
            Client(server.url, auth=(name, "a wrong password"), verbose=False)

    def test_without_a_login_is_refused(self, server):
        with pytest.raises(ValueError, match="login"):
            Client(server.url, verbose=False)


class TestOtherPeoplesFiles:
    def test_an_upload_is_shown_to_its_owner_alone(self, server):
        owner, other = server.newcomer(), server.newcomer()
        path = upload(owner, SHARP.read_bytes() + b"owner")
        assert owner.get(f"/gradio_api/file={path}").content == SHARP.read_bytes() + b"owner"
        assert other.get(f"/gradio_api/file={path}").status_code == 403
        assert other.head(f"/gradio_api/file={path}").status_code == 403
        assert server.client().get(f"/gradio_api/file={path}").status_code == 401
        reading = call(other, image={"path": path, "meta": META})
        assert "not among your uploads" in reading["error"]

    @pytest.mark.parametrize("meta", [{}, {"meta": META}])
    @pytest.mark.parametrize("path", ["/etc/passwd", "app.py", "/proc/self/environ", "http://127.0.0.1:1/x.jpg"])
    def test_no_other_file_of_the_machine_is_opened(self, signed_in, path, meta):
        reading = call(
            signed_in, "check", {"path": path, "orig_name": "x.svg", "url": "http://127.0.0.1:1/", **meta}, None
        )
        assert reading["error"]
        assert "root:" not in json.dumps(reading)

    @pytest.mark.parametrize(
        "path", ["/etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "http://127.0.0.1:1/", "imgcap.db", "log"]
    )
    def test_no_other_file_of_the_machine_is_served(self, server, signed_in, path):
        path = str(server.log.parent / path) if path in {"imgcap.db", "log"} else path
        assert signed_in.get(f"/gradio_api/file={path}").status_code == 403

    def test_links_in_a_payload_are_fetched_by_nobody_but_us(self, signed_in, picture_site):
        before = picture_site.asked
        payload = {"path": f"{picture_site}/photo.jpg", "url": f"{picture_site}/photo.jpg", "meta": META}
        assert call(signed_in, "check", payload, None)["valid"] is True
        assert picture_site.asked == before + 1

    def test_a_file_above_the_limit_is_refused(self, signed_in):
        answer = signed_in.post("/gradio_api/upload", files={"files": ("big.jpg", b"0" * (26 * 2**20))})
        assert answer.status_code == 413


class TestOneAccountAlone:
    def test_answers_that_nobody_reads_are_limited_and_keep_nobody_else_waiting(self, server):
        greedy, other = server.newcomer(), server.newcomer()
        answers = [greedy.post("/gradio_api/call/check", json={"data": [None, None]}) for _ in range(60)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert [answer.status_code for answer in answers[:40]] == [200] * 40
        assert len(refused) == 20
        assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
        assert "waiting or unread" in refused[0].json()["detail"]
        assert call(other, image={"path": upload(other)})["caption"]
        # A result that has been read makes room again.
        assert "exactly one" in read_answer(greedy, "check", answers[0].json()["event_id"])["error"]
        assert greedy.post("/gradio_api/call/check", json={"data": [None, None]}).status_code == 200
        assert other.get("/gradio_api/healthz").json() == {"status": "ok"}

    def test_an_event_is_read_and_cancelled_by_its_owner_alone(self, server):
        owner, other = server.newcomer(), server.newcomer()
        asked = owner.post("/gradio_api/call/check", json={"data": [None, None], "session_hash": "tab-of-the-owner"})
        event = asked.json()["event_id"]
        assert other.get(f"/gradio_api/call/check/{event}").status_code == 404
        assert other.get("/gradio_api/queue/data", params={"session_hash": "tab-of-the-owner"}).status_code == 404
        assert other.get("/gradio_api/heartbeat/tab-of-the-owner").status_code == 404
        cancel = {"event_id": event, "session_hash": "tab-of-the-owner", "fn_index": 0}
        assert other.post("/gradio_api/cancel", json=cancel).status_code == 404
        into = {"data": [None, None], "session_hash": "tab-of-the-owner"}
        assert other.post("/gradio_api/call/check", json=into).status_code == 404
        assert "exactly one" in read_answer(owner, "check", event)["error"]

    def test_an_unknown_parameter_is_named(self, signed_in):
        answer = signed_in.post("/gradio_api/call/v2/caption", json={"image": None, "lenght": "short"})
        assert answer.status_code == 422
        assert (
            answer.json()["detail"]
            == "/caption has no parameter 'lenght'; it takes image, url, length, alternatives, model."
        )


class TestPageEvents:
    def test_the_badge_comes_before_the_caption(self, server):
        client = server.newcomer()
        opening, first, *later = ask_page(client, {"path": upload(client)}, "normal")
        assert "Opening the photo" in opening
        assert "✓</span> Valid" in first
        assert "Writing the caption" in first
        assert 'id="imgcap-caption"' in "".join(later)
        assert 'id="imgcap-caption"' not in first

    def test_a_wrong_file_is_told_on_the_page(self, server):
        client = server.newcomer()
        said = "".join(ask_page(client, {"path": "/etc/passwd"}, "normal"))
        assert "not among your uploads" in said

    def test_what_the_page_does_by_itself_cannot_be_asked_for(self, server):
        client = server.newcomer()
        alone = [d["id"] for d in client.get("/config").json()["dependencies"] if not d["backend_fn"]]
        assert alone
        for function in (*alone, 10_000):
            asked = {"data": [], "fn_index": function, "session_hash": os.urandom(6).hex()}
            answer = client.post("/gradio_api/queue/join", json=asked)
            assert (answer.status_code, "reload" in answer.json()["detail"]) == (404, True)


def ask_page(client, *data):
    """Return what the page receives, in order, after a photo is given."""
    config = client.get("/config").json()
    describe = next(
        d for d in config["dependencies"] if d["backend_fn"] and d["targets"] and d["targets"][0][1] == "change"
    )
    asked = {"data": list(data), "fn_index": describe["id"], "session_hash": os.urandom(6).hex()}
    assert client.post("/gradio_api/queue/join", json=asked).status_code == 200
    outputs = []
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": asked["session_hash"]}) as stream:
        for line in stream.iter_lines():
            message = json.loads(line.removeprefix("data: ")) if line else {}
            if message.get("msg") in {"process_generating", "process_completed"}:
                outputs.append(json.dumps(message["output"], ensure_ascii=False).replace('\\"', '"'))
            if message.get("msg") == "process_completed":
                assert message["success"], message
                break
    return outputs


class TestSessions:
    def test_the_login_for_programs_sets_our_one_cookie(self, server):
        name = server.newcomer().headers["x-name"]
        answer = server.client().post("/login", data={"username": name, "password": PASSWORD})
        (cookie,) = answer.headers.get_list("set-cookie")
        assert re.fullmatch(
            r"access-token-unsecure-imgcap-[0-9a-f]{8}=\S+; Path=/; Max-Age=\d+; HttpOnly; SameSite=Lax", cookie
        )

    def test_signing_in_again_by_the_api_ends_the_session_before(self, server):
        client = server.newcomer()
        old = dict(client.cookies)
        assert client.post("/login", data={"username": client.headers["x-name"], "password": PASSWORD}).is_success
        assert client.get("/config").status_code == 200
        with httpx.Client(base_url=server.url, cookies=old) as thief:
            assert thief.get("/config").status_code == 401

    def test_behind_a_proxy_with_https_it_is_secure_and_partitioned(self, proxied_server):
        client = proxied_server.client(**{"X-Forwarded-Proto": "https"})
        answer = client.post("/login/register", data={"username": "ada", "password": PASSWORD})
        (cookie,) = answer.headers.get_list("set-cookie")
        assert re.fullmatch(
            r"access-token-imgcap-[0-9a-f]{8}=\S+; Path=/; Max-Age=\d+; HttpOnly; SameSite=None; Secure; Partitioned",
            cookie,
        )
        assert "strict-transport-security" in answer.headers


class TestOtherSites:
    def test_gradios_leave_to_every_origin_opens_nothing(self, server):
        client = server.newcomer()
        headers = {"Host": "imgcap.test", "Origin": "https://elsewhere.test"}
        preflight = client.options("/config", headers=headers | {"Access-Control-Request-Method": "GET"})
        assert (
            preflight.headers["access-control-allow-origin"] == "https://elsewhere.test"
        )  # Gradio's, answered before us
        for path in ("/config", "/gradio_api/info", "/history.csv", "/account/data", "/gradio_api/token"):
            answer = client.get(path, headers=headers)
            assert answer.status_code == 403
            assert answer.text == "Requests from other sites are refused."

    def test_a_login_from_another_site_is_refused(self, server):
        data = {"username": "x", "password": "y"}
        for headers in ({"Origin": "https://elsewhere.test"}, {"Sec-Fetch-Site": "cross-site"}):
            assert server.client().post("/login", data=data, headers=headers).status_code == 403


class TestThrottling:
    def test_a_hundred_wrong_passwords_from_one_address_are_stopped_at_the_limit(self, strict_server):
        client = strict_server.client()
        answers = [
            # Each for another name, and each claiming to be forwarded for another address.
            client.post(
                path,
                data={"username": f"name{n}", "password": "a wrong password"},
                headers={"X-Forwarded-For": f"198.51.100.{n}"},
            )
            for n in range(50)
            for path in ("/login", "/login/form")
        ]
        assert [answer.status_code for answer in answers] == [400] * 20 + [429] * 80
        assert all(1 <= int(answer.headers["retry-after"]) <= 3600 for answer in answers[20:])
        assert "Too many tries to sign in" in answers[-1].text

    def test_behind_a_trusted_proxy_each_client_has_its_own_allowance(self, proxied_server):
        client = proxied_server.client()
        data = {"username": "nobody-here", "password": "a wrong password"}
        one = [
            client.post("/login/form", data=data | {"username": f"n{n}"}, headers=via("192.0.2.1")) for n in range(21)
        ]
        assert [answer.status_code for answer in one] == [400] * 20 + [429]
        assert client.post("/login/form", data=data, headers=via("192.0.2.2")).status_code == 400
        # What a client writes into the header itself stands to the left of what the proxy adds.
        assert client.post("/login/form", data=data, headers=via("203.0.113.9, 192.0.2.1")).status_code == 429

    def test_captions_have_an_allowance_and_checks_another(self, strict_server):
        client = strict_server.newcomer()
        image = {"path": upload(client), "meta": META}
        for _ in range(2):
            assert call(client, image=image)["caption"]
        refused = client.post("/gradio_api/call/caption", json={"data": [image]})
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
        assert "Too many tries to ask for captions" in refused.json()["detail"]
        assert call(client, "check", image)["valid"] is True
        later = "".join(ask_page(client, image, "normal"))
        assert "Too many tries to ask for captions" in later
        assert "✓</span> Valid" in later
        refused = client.post("/gradio_api/call/check", json={"data": [image]})  # the fifth picture
        assert refused.status_code == 429
        assert "Too many tries to open pictures" in refused.json()["detail"]


def via(addresses):
    return {"X-Forwarded-For": addresses}


class TestStopping:
    def test_sigterm_lets_running_captions_finish_and_sessions_survive(self, tiny_captioner, tmp_path):
        with run_app(tmp_path, tiny_captioner, captions_per_account="100/second") as running:
            client = running.newcomer()
            image = {"path": upload(client)}
            call(client, image=image)  # the model is loaded
            events = [
                client.post("/gradio_api/call/caption", json={"data": [image]}).json()["event_id"] for _ in range(8)
            ]

            def read(event_id):
                with httpx.Client(base_url=running.url, cookies=client.cookies, timeout=120) as own:
                    return own.get(f"/gradio_api/call/caption/{event_id}").text

            with ThreadPoolExecutor(len(events)) as pool:
                answers = [pool.submit(read, event_id) for event_id in events]
                running.process.send_signal(signal.SIGTERM)
                texts = [answer.result() for answer in answers]
            assert running.process.wait(120) == 0
        assert all("event: complete" in text and '"error": null' in text for text in texts)
        cookies = dict(client.cookies)
        with run_app(tmp_path, tiny_captioner) as again, httpx.Client(base_url=again.url, cookies=cookies) as same:
            assert same.get("/config").status_code == 200

    def test_a_stopping_server_begins_nothing_new(self, tiny_captioner, tmp_path):
        with run_app(tmp_path, tiny_captioner, shutdown_seconds=60) as running:
            client = running.newcomer()
            asked = {"data": [None, None, "normal"]}
            held = client.post("/gradio_api/call/caption", json=asked).json()["event_id"]  # not fetched yet
            client.post("/gradio_api/call/caption", json=asked)  # and this one never is
            running.process.send_signal(signal.SIGTERM)
            while client.get("/gradio_api/healthz").status_code == 200:
                pass
            refused = client.post("/gradio_api/call/caption", json=asked)
            assert refused.status_code == 503
            assert "about to restart" in refused.json()["detail"]
            assert client.get("/history").status_code == 200
            assert "exactly one" in read_answer(client, "caption", held)["error"]
            assert running.process.wait(120) == 0
            assert "unfinished" not in running.log.read_text()

    def test_sigterm_while_the_model_loads_ends_the_process_soon(self, tiny_captioner, tmp_path):
        # Loading cannot be broken off; here it takes longer than anybody would wait.
        loading = tmp_path / "loading"
        slow = (
            "import runpy, time; from pathlib import Path; from imgcap.captioner import Captioner\n"
            f"Captioner.load = lambda self: (Path({str(loading)!r}).touch(), time.sleep(600))\n"
            "runpy.run_path('app.py', run_name='__main__')"
        )
        with run_app(tmp_path, tiny_captioner, python=("-c", slow)) as running:
            while not loading.exists():
                time.sleep(0.05)
            assert running.client().get("/login").status_code == 200
            began = time.monotonic()
            assert running.stop() == 0
            assert time.monotonic() - began < 20
        assert "Traceback" not in running.log.read_text()

    @pytest.mark.parametrize("after", [0.0, 0.3])
    def test_sigterm_while_onnx_runtime_loads_ends_the_process_cleanly(self, tmp_path, after):
        with run_app(tmp_path, ROOT / "models" / "attention") as running:  # which takes a second or more
            time.sleep(after)
            assert running.stop() == 0
        assert "Traceback" not in running.log.read_text()
        assert "terminate" not in running.log.read_text()
