import pytest

from imgcap.accounts.accounts import Accounts
from imgcap.accounts.identities import FRESH, Identities
from imgcap.accounts.sessions import SessionStore
from imgcap.errors import InputError
from imgcap.settings import Settings

PASSWORD = "correct horse battery staple"


@pytest.fixture
def identities(database, accounts, db_settings):
    return Identities(database, accounts, db_settings)


def test_the_same_person_gets_the_same_account_whatever_they_are_called(identities, accounts):
    first = identities.sign_in("https://hf 1", "Ada.Lovelace")
    assert first.name == "ada.lovelace"
    assert identities.sign_in("https://hf 1", "Countess").id == first.id
    assert identities.sign_in("https://hf 2", "Countess").id != first.id
    assert identities.is_linked(first.id)
    assert [user.name for user in accounts.list()] == ["ada.lovelace", "countess"]


def test_nobody_gets_into_an_account_by_having_its_name_elsewhere(identities, accounts):
    owner = accounts.create("ada", PASSWORD)
    newcomer = identities.sign_in("https://hf 1", "Ada")
    assert newcomer.id != owner.id
    assert newcomer.name == "ada-2"
    assert not identities.is_linked(owner.id)


def test_any_name_elsewhere_becomes_one_that_is_allowed_here(identities, accounts):
    for number, name in enumerate(["", "x", "Łukasz Ж", "-._", "a" * 90, "an\tn\n<b>"]):
        user = identities.sign_in(f"https://hf {number}", name)
        assert accounts.get(user.name).id == user.id, name


def test_strangers_are_refused_where_registration_is_closed_and_members_are_not(database, accounts, db_settings):
    member = Identities(database, accounts, db_settings).sign_in("https://hf 1", "ada")
    closed = Identities(database, accounts, Settings(**dict(db_settings) | {"open_registration": False}))
    assert closed.sign_in("https://hf 1", "ada").id == member.id
    with pytest.raises(InputError, match="Registration is closed"):
        closed.sign_in("https://hf 2", "eve")


def test_a_deleted_account_takes_its_identity_along(identities, accounts):
    first = identities.sign_in("https://hf 1", "ada")
    accounts.delete(first.id)
    assert identities.sign_in("https://hf 1", "ada").id != first.id


def test_only_a_session_of_a_linked_account_that_just_began_is_fresh(identities, accounts, database, db_settings):
    user, other = identities.sign_in("https://hf 1", "ada"), accounts.create("eve", PASSWORD)
    sessions = SessionStore(database, db_settings)
    sessions["new"], sessions["eves"] = "ada", "eve"
    old = SessionStore(database, db_settings, now=lambda: sessions._now() - FRESH)
    old["old"] = "ada"
    assert identities.is_fresh(user.id, "new")
    assert not identities.is_fresh(user.id, "old")
    assert not identities.is_fresh(user.id, "eves")
    assert not identities.is_fresh(user.id, None)
    assert not identities.is_fresh(other.id, "eves")


def test_the_first_account_is_made_once_and_its_password_then_is_its_owners(accounts: Accounts):
    accounts.create_first("ada", PASSWORD)
    accounts.create_first("Ada", "another long password of hers")
    assert accounts.verify("ada", PASSWORD)
    with pytest.raises(InputError, match="15 characters"):
        accounts.create_first("eve", "short")
