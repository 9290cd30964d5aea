import pytest
from running import PASSWORD

from imgcap.captioner import Captioner
from imgcap.errors import InputError
from imgcap.settings import Settings
from imgcap.web.services import open_services


def test_the_first_account_signs_in_where_registration_is_closed(open_app):
    client, _ = open_app(first_user="ada", first_password=PASSWORD, open_registration=False)
    client.post("/login/register", data={"username": "eve", "password": PASSWORD})
    assert client.post("/login", data={"username": "eve", "password": PASSWORD}).status_code == 400
    assert client.post("/login", data={"username": "ada", "password": PASSWORD}).json() == {"success": True}


def test_a_first_account_that_cannot_be_made_is_said_at_the_start_and_leaves_no_lock(tmp_path):
    chosen = {"data_dir": tmp_path, "first_user": "ada"}
    short = Settings(**chosen, first_password="short")
    with pytest.raises(InputError, match=r"IMGCAP_FIRST_USER and IMGCAP_FIRST_PASSWORD make no account\. .*15"):
        open_services(short, Captioner(short))
    assert "'short'" not in repr(short)
    right = Settings(**chosen, first_password=PASSWORD)
    open_services(right, Captioner(right)).close()


def test_people_are_told_where_accounts_do_not_last(open_app):
    client, _ = open_app(short_lived=True)
    assert "Accounts and histories end when this server restarts" in client.get("/login/register").text
