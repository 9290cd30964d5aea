"""A client that leaves while its picture waits is taken out of the captioner's queue."""

import threading
import time

import httpx
from running import PASSWORD, SHARP


def ask(client):
    with SHARP.open("rb") as photo:
        (path,) = client.post("/gradio_api/upload", files={"files": photo}).json()
    return client.post("/gradio_api/call/v2/caption", json={"image": {"path": path}}).json()["event_id"]


def until(is_true):
    deadline = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_client_that_leaves_takes_its_waiting_picture_with_it(launched, member, monkeypatch):
    captioner = launched.services.work.models.default.captioner
    user = launched.services.accounts.create("leaver", PASSWORD)
    token = launched.services.tokens.add(user.id, "agent")
    queue = captioner._queue
    held, began, run = threading.Lock(), [], queue._run

    def wait(jobs):
        began.append(jobs)
        with held:
            pass
        run(jobs)

    monkeypatch.setattr(queue, "_run", wait)
    with held:  # no batch goes on
        first = [ask(member)]
        until(lambda: began)
        while len(began) < queue.workers:  # as many as may run side by side
            first.append(ask(member))
            until(lambda: len(began) == len(first))
        with httpx.Client(base_url=launched.url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as leaver:
            event = ask(leaver)
            until(lambda: queue._count() == 1)
            with leaver.stream("GET", f"/gradio_api/call/caption/{event}") as stream:
                assert stream.status_code == 200
        until(lambda: queue._count() == 0)
    assert all("event: complete" in member.get(f"/gradio_api/call/caption/{event}").text for event in first)
    assert launched.services.history.count(user.id) == 0
