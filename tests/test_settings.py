import pytest
from pydantic import ValidationError

from imgcap.errors import InputError
from imgcap.settings import ROOT, Settings, get_settings


def test_a_variable_of_the_environment_wins_over_the_default(monkeypatch):
    monkeypatch.setenv("IMGCAP_BLUR_THRESHOLD", "12.5")
    assert Settings().blur_threshold == 12.5


def test_a_value_out_of_range_is_refused(monkeypatch):
    monkeypatch.setenv("IMGCAP_PORT", "70000")
    with pytest.raises(ValidationError, match="port"):
        Settings()


def test_a_wrong_value_in_the_environment_is_one_sentence(monkeypatch):
    monkeypatch.setenv("IMGCAP_PORT", "70000")
    get_settings.cache_clear()
    with pytest.raises(InputError, match=r"^IMGCAP_PORT is wrong: .*65535\.$"):
        get_settings()
    get_settings.cache_clear()


@pytest.mark.parametrize(
    ("name", "meant"), [("IMGCAP_BLUR_TRESHOLD", "IMGCAP_BLUR_THRESHOLD"), ("imgcap_datadir", "IMGCAP_DATA_DIR")]
)
def test_a_misspelt_setting_is_not_ignored(name, meant, monkeypatch):
    monkeypatch.setenv("IMGCAP_TEST_DATA", "another program's")
    monkeypatch.setenv(name, "1")
    get_settings.cache_clear()
    with pytest.raises(InputError, match=rf"^{name} is no setting: write {meant}, or unset it\.$"):
        get_settings()
    get_settings.cache_clear()


def test_settings_are_read_once_and_do_not_change():
    assert get_settings() is get_settings()
    with pytest.raises(ValidationError, match="frozen"):
        get_settings().port = 1


def test_the_page_for_operators_lists_every_setting():
    page = (ROOT / "docs" / "server.md").read_text()
    for name, field in Settings.model_fields.items():
        assert f"| `IMGCAP_{name.upper()}` |" in page, name
        assert field.description, name
        assert field.description in page, name
