"""The name of the session cookie, which differs between servers on one host."""

import re

import pytest

from imgcap.errors import InputError
from imgcap.web.cookies import read_server_id


def test_a_data_folder_keeps_its_id(tmp_path):
    first = read_server_id(tmp_path / "new")
    assert re.fullmatch("[0-9a-f]{8}", first)
    assert read_server_id(tmp_path / "new") == first
    assert read_server_id(tmp_path / "other") != first


@pytest.mark.parametrize("content", [b"", b"abc", b"=; Path=/", b"\xff" * 8])
def test_an_id_that_was_cut_or_changed_is_made_anew(tmp_path, content):
    (tmp_path / "server-id").write_bytes(content)
    made = read_server_id(tmp_path)
    assert re.fullmatch("[0-9a-f]{8}", made)
    assert read_server_id(tmp_path) == made


def test_a_folder_that_cannot_be_made_is_named_in_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="IMGCAP_DATA_DIR"):
        read_server_id(tmp_path / "file")


def test_signing_in_to_one_server_of_a_host_leaves_the_other_alone(open_app, tmp_path):
    credentials = {"username": "ada", "password": "correct horse battery staple"}
    one, _ = open_app(data_dir=tmp_path / "one")
    other, _ = open_app(data_dir=tmp_path / "other")
    one.post("/login/register", data=credentials)
    jar = dict(one.cookies)
    other.cookies.update(jar)  # a browser sends both to both: cookies know no ports
    other.post("/login/register", data=credentials)
    one.cookies.update(dict(other.cookies))
    assert one.get("/account").status_code == other.get("/account").status_code == 200
