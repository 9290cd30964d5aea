import multiprocessing
import os
import stat
import time
from pathlib import Path

import pytest

from imgcap.accounts.throttling import Throttled
from imgcap.errors import InputError
from imgcap.web.intake.uploads import (
    INCOMPLETE_SECONDS,
    StorageFull,
    UploadLimits,
    Uploads,
    lock_data_folder,
    prepare_folder,
)

ADA, BOB, EVE = 1, 2, 3
LIMITS = UploadLimits(max_age=3600, bytes_per_user=1000, bytes_in_all=2500, min_free_bytes=0)


@pytest.fixture
def uploads(tmp_path):
    return Uploads(prepare_folder(tmp_path / "uploads"), LIMITS)


def give(uploads, user, content=b"x"):
    path = uploads.folder / "photo.jpg"
    path.write_bytes(content)
    uploads.add(path, user)
    return str(path)


def test_an_upload_is_its_owners_alone(uploads):
    path = give(uploads, ADA)
    assert uploads.read(path, ADA) == b"x"
    assert uploads.is_owned(path, ADA)
    assert not uploads.is_owned(path, EVE)
    with pytest.raises(InputError, match="not among your uploads"):
        uploads.read(path, EVE)


def test_the_same_file_may_belong_to_two(uploads):
    give(uploads, ADA)
    path = give(uploads, BOB)
    assert uploads.read(path, ADA) == uploads.read(path, BOB) == b"x"


@pytest.mark.parametrize("path", ["/etc/passwd", "", ".", "no\0name", "/dev/zero", "../uploads", "x" * 5000])
def test_what_was_never_uploaded_cannot_be_read(uploads, path):
    with pytest.raises(InputError):
        uploads.read(path, ADA)


def test_a_link_out_of_the_folder_is_no_upload(uploads, tmp_path):
    (tmp_path / "secret").write_text("s")
    link = uploads.folder / "link"
    link.symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match="upload folder"):
        uploads.add(link, ADA)
    assert not uploads.is_owned(str(link), ADA)


def test_a_path_with_detours_is_the_same_upload(uploads):
    path = give(uploads, ADA)
    assert uploads.is_owned(path.replace("uploads/", "uploads/../uploads/"), ADA)


def test_a_deleted_upload_is_forgotten(uploads):
    path = give(uploads, ADA)
    (uploads.folder / "photo.jpg").unlink()
    with pytest.raises(InputError, match="was deleted"):
        uploads.read(path, ADA)
    uploads.sweep()
    assert not uploads.is_owned(path, ADA)


def test_what_a_link_led_to_is_an_upload_too(uploads):
    path = str(uploads.save_link(b"y", ADA))
    assert uploads.read(path, ADA) == b"y"
    assert uploads.source_of(path) == "link"


def test_the_folder_is_empty_at_the_start_and_closed_to_other_users_of_the_machine(tmp_path):
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "left.jpg").write_text("x")
    folder = prepare_folder(tmp_path / "uploads")
    assert list(folder.iterdir()) == []
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def keep(uploads, user, name, size=400):
    path = uploads.folder / name
    with uploads.receiving(user, size) as reservation:
        path.write_bytes(b"x" * size)
        uploads.add(path, user)
        reservation.kept = True
    return path


def make_old(path, seconds):
    os.utime(path, (time.time() - seconds, time.time() - seconds))


def test_the_oldest_uploads_of_a_user_make_room_for_the_newest(uploads):
    others = keep(uploads, BOB, "bobs.jpg")
    first, second, third = (keep(uploads, ADA, f"{n}.jpg") for n in range(3))
    assert [path.exists() for path in (first, second, third, others)] == [False, True, True, True]
    uploads.add(second, ADA)  # given again: now it is newer than the third
    keep(uploads, ADA, "fourth.jpg")
    assert [path.exists() for path in (second, third)] == [True, False]


def test_what_two_users_gave_stays_while_one_of_them_has_room(uploads):
    shared = keep(uploads, BOB, "shared.jpg")
    for name in ("shared.jpg", "1.jpg", "2.jpg", "3.jpg"):
        keep(uploads, ADA, name)
    assert shared.exists()
    assert not uploads.is_owned(str(shared), ADA)
    assert uploads.is_owned(str(shared), BOB)


def test_all_uploads_together_have_a_limit(uploads):
    for user in (ADA, BOB, EVE):
        for name in ("a", "b"):
            keep(uploads, user, f"{user}{name}.jpg")
    with pytest.raises(StorageFull, match="no room"), uploads.receiving(4, 400):
        pass


def test_uploads_that_are_broken_off_count_until_they_are_swept(uploads):
    for _ in range(2):
        with uploads.receiving(ADA, 400):
            pass
    with pytest.raises(Throttled, match="under way or were broken off"), uploads.receiving(ADA, 400):
        pass
    with uploads.receiving(BOB, 400):  # others are not held up
        pass


def test_the_disk_is_never_filled(tmp_path):
    everything = UploadLimits(max_age=1, bytes_per_user=10**9, bytes_in_all=10**9, min_free_bytes=2**62)
    uploads = Uploads(prepare_folder(tmp_path / "uploads"), everything)
    with pytest.raises(StorageFull, match="no room"), uploads.receiving(ADA, 1):
        pass


def test_a_sweep_deletes_what_is_old_and_what_never_got_an_owner(uploads, monkeypatch):
    kept, link = keep(uploads, ADA, "kept.jpg"), uploads.save_link(b"x", ADA)
    fresh, stale = uploads.folder / "tmpfresh", uploads.folder / "tmpstale"
    for path in (fresh, stale):
        path.write_bytes(b"x")
    make_old(stale, INCOMPLETE_SECONDS + 1)
    make_old(kept, INCOMPLETE_SECONDS + 1)  # an old file that somebody gave just now
    uploads.sweep()
    assert [path.exists() for path in (kept, link, fresh, stale)] == [True, True, True, False]
    later = time.time() + LIMITS.max_age + 1
    monkeypatch.setattr("imgcap.web.intake.uploads.time.time", lambda: later)
    uploads.sweep()
    assert list(uploads.folder.iterdir()) == []
    assert not uploads.is_owned(str(kept), ADA)


def test_a_file_that_cannot_be_deleted_stops_no_sweep(uploads, monkeypatch):
    paths = [uploads.folder / f"tmp{n}" for n in range(3)]
    for path in paths:
        path.write_bytes(b"x")
        make_old(path, INCOMPLETE_SECONDS + 1)
    unlink = Path.unlink

    def refuse(path, **options):
        if path.name == "tmp1":
            raise PermissionError(1, "Operation not permitted")
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", refuse)
    uploads.sweep()
    assert [path.exists() for path in paths] == [False, True, False]
    monkeypatch.setattr(Path, "unlink", unlink)
    uploads.sweep()
    assert not paths[1].exists()


def test_a_forgotten_users_uploads_are_deleted_except_what_others_gave_too(uploads):
    own, shared = keep(uploads, ADA, "own.jpg"), keep(uploads, ADA, "shared.jpg")
    uploads.add(shared, BOB)
    uploads.forget_user(ADA)
    assert [path.exists() for path in (own, shared)] == [False, True]
    assert not uploads.is_owned(str(shared), ADA)
    assert uploads.is_owned(str(shared), BOB)


def _lock(folder, answers):
    try:
        lock_data_folder(folder)
        answers.put("locked")
    except InputError as error:
        answers.put(str(error))


def test_a_data_folder_belongs_to_one_process_at_a_time(tmp_path):
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    lock = lock_data_folder(tmp_path)
    for expected in ("Another imgcap runs with the data folder", "locked"):
        process = context.Process(target=_lock, args=(tmp_path, answers))
        process.start()
        assert answers.get(timeout=60).startswith(expected)
        process.join()
        lock.close()
