import stat

import pytest

from imgcap.errors import InputError
from imgcap.web.uploads import Uploads, prepare_folder


@pytest.fixture
def uploads(tmp_path):
    return Uploads(prepare_folder(tmp_path / "uploads"))


def give(uploads, user, content=b"x"):
    path = uploads.folder / "photo.jpg"
    path.write_bytes(content)
    uploads.add(path, user)
    return str(path)


def test_an_upload_is_its_owners_alone(uploads):
    path = give(uploads, "ada")
    assert uploads.read(path, "ada") == b"x"
    assert uploads.is_owned(path, "ada")
    assert not uploads.is_owned(path, "eve")
    with pytest.raises(InputError, match="not among your uploads"):
        uploads.read(path, "eve")


def test_the_same_file_may_belong_to_two(uploads):
    give(uploads, "ada")
    path = give(uploads, "bob")
    assert uploads.read(path, "ada") == uploads.read(path, "bob") == b"x"


@pytest.mark.parametrize("path", ["/etc/passwd", "", ".", "no\0name", "/dev/zero", "../uploads", "x" * 5000])
def test_what_was_never_uploaded_cannot_be_read(uploads, path):
    with pytest.raises(InputError):
        uploads.read(path, "ada")


def test_a_link_out_of_the_folder_is_no_upload(uploads, tmp_path):
    (tmp_path / "secret").write_text("s")
    link = uploads.folder / "link"
    link.symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match="upload folder"):
        uploads.add(link, "ada")
    assert not uploads.is_owned(str(link), "ada")


def test_a_path_with_detours_is_the_same_upload(uploads):
    path = give(uploads, "ada")
    assert uploads.is_owned(path.replace("uploads/", "uploads/../uploads/"), "ada")


def test_a_deleted_upload_is_forgotten(uploads):
    path = give(uploads, "ada")
    (uploads.folder / "photo.jpg").unlink()
    with pytest.raises(InputError, match="was deleted"):
        uploads.read(path, "ada")
    uploads.save_link(b"y", "bob")
    assert not uploads.is_owned(path, "ada")


def test_what_a_link_led_to_is_an_upload_too(uploads):
    path = str(uploads.save_link(b"y", "ada"))
    assert uploads.read(path, "ada") == b"y"
    assert uploads.source_of(path) == "link"


def test_the_folder_is_empty_at_the_start_and_closed_to_other_users_of_the_machine(tmp_path):
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "left.jpg").write_text("x")
    folder = prepare_folder(tmp_path / "uploads")
    assert list(folder.iterdir()) == []
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
