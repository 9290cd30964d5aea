"""The work on batches in the background."""

from members import Member, wait_until
from running import NO_LIMITS, SHARP

from imgcap.web.batches import workers

LOOSE = {name: limit for name, limit in NO_LIMITS.items() if not name.startswith(("captions", "pictures"))}


def test_cancel_stops_what_waits_and_resume_goes_on(open_batches):
    ada = Member(*open_batches(begin=False), "ada")
    for number in range(4):
        ada.send(f"{number}.jpg", SHARP.read_bytes())
    ada.ask("POST", "/batch/cancel")
    ada.services.batch_workers.start()
    state = ada.wait()
    assert (state["state"], state["done"]) == ("cancelled", 0)
    ada.ask("POST", "/batch/resume")
    assert ada.wait()["done"] == 4


def test_it_waits_for_its_allowance_and_leaves_some_to_the_person(open_batches, monkeypatch):
    ada = Member(*open_batches(**LOOSE, captions_per_account="7/hour", captions_per_address="100/hour"), "ada")
    for number in range(3):
        ada.send(f"{number}.jpg", SHARP.read_bytes())
    wait_until(lambda: ada.state()["done"] == 2 and ada.state()["wait_seconds"] > 0)
    state = ada.state()
    assert (state["state"], state["failed"]) == ("running", 0)
    assert state["wait_seconds"] > 3_000
    for _ in range(5):
        ada.services.throttle.hit("caption", account=ada.id, address=None)


def test_users_take_turns(open_batches, monkeypatch):
    client, services = open_batches(begin=False)
    ada, bob = Member(client, services, "ada"), Member(client, services, "bob")
    for member, number in ((ada, 6), (bob, 2)):
        for count in range(number):
            member.send(f"{count}.jpg", SHARP.read_bytes())
    order = []
    monkeypatch.setattr(workers, "WORKERS", 1)
    monkeypatch.setattr(workers.BatchWorkers, "_describe", lambda self, batch, item: order.append(batch.user_id))
    services.batch_workers.start()
    wait_until(lambda: len(order) == 8)
    assert order[:4] in ([ada.id, bob.id] * 2, [bob.id, ada.id] * 2)
