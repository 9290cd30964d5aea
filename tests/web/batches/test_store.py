"""Batches on the disk: over a restart, and until they are deleted."""

from members import Member, wait_until
from running import PASSWORD, SHARP

from imgcap.web.batches.batch import Batch
from imgcap.web.batches.store import BatchStore
from imgcap.web.batches.workers import BatchWorkers


def test_the_next_process_goes_on_with_it(open_batches, tiny_captioner):
    ada = Member(*open_batches(begin=False), "ada")
    ada.send("a.jpg", SHARP.read_bytes())
    ada.send("b.jpg", SHARP.read_bytes())
    batches = ada.services.batches
    ada.services.batch_workers.start()
    wait_until(lambda: ada.state()["items"][0]["state"] == "done")
    ada.ask("POST", "/batch/edit", data={"number": "0", "caption": "Mine"})
    ada.ask("POST", "/batch/cancel")
    ada.services.batch_workers.close()
    [folder] = batches.folder.iterdir()
    (folder / "incoming-9").write_bytes(b"left by a broken connection")
    assert b"testclient" not in (folder / "state.json").read_bytes()  # no address

    again = BatchStore(batches.folder, batches.limits, ada.services.uploads, lambda _: True)
    workers = BatchWorkers(again, ada.services.work)
    workers.start()
    again.apply(ada.id, Batch.resume)
    wait_until(lambda: again.report(ada.id)["done"] == 2)
    assert again.report(ada.id)["items"][0]["text"] == "Mine"
    assert not (folder / "incoming-9").exists()
    workers.close()


def test_it_is_deleted_by_hand_by_age_and_with_the_account(open_batches):
    client, services = open_batches()
    ada, bob, eve = (Member(client, services, name) for name in ("ada", "bob", "eve"))
    for member in (ada, bob, eve):
        member.send("a.jpg", SHARP.read_bytes())
        member.wait()
    folder = services.batches.folder
    assert len(list(folder.iterdir())) == 3
    ada.ask("POST", "/batch/delete")
    assert len(list(folder.iterdir())) == 2
    bob.ask("POST", "/account/delete", data={"password": PASSWORD})
    assert len(list(folder.iterdir())) == 1
    services.accounts.delete(eve.id)  # as the command line does, in another process
    services.batches.sweep()
    assert list(folder.iterdir()) == []
    assert services.uploads._held == {}

    ada.send("a.jpg", SHARP.read_bytes())
    ada.wait()
    services.batches._batches[ada.id].touched_at -= services.batches.limits.max_age + 1
    services.batches.sweep()
    assert list(folder.iterdir()) == []


def test_a_state_that_cannot_be_read_goes(open_batches):
    _, services = open_batches(begin=False)
    batches, folder = services.batches, services.batches.folder / "1-x"
    folder.mkdir()
    (folder / "state.json").write_text('{"items": [{}]}')
    (services.batches.folder / "2-y").mkdir()
    BatchStore(batches.folder, batches.limits, services.uploads, lambda _: True)
    assert list(batches.folder.iterdir()) == []
