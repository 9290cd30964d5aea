"""A signed-in user's work on a picture, without a server."""

import shutil
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from running import SHARP

from imgcap.accounts.database import DatabaseUnavailable
from imgcap.accounts.throttling import Throttled
from imgcap.captioner import Captioner
from imgcap.errors import InputError
from imgcap.web.intake.opening import Caller
from imgcap.web.models import RETRY_SECONDS
from imgcap.web.work import explain

ADA = Caller(1, "192.0.2.1")


@pytest.fixture
def work(open_app) -> Callable[..., SimpleNamespace]:
    """The work object of an app with an account, one upload of it, and a captioner that may be made to fail."""

    def build(**settings: object) -> SimpleNamespace:
        _, services = open_app(**settings)
        assert services.accounts.create("ada", "correct horse battery staple").id == ADA.user_id
        path = services.uploads.folder / "photo.jpg"
        path.write_bytes(SHARP.read_bytes())
        services.uploads.add(path, ADA.user_id)
        return SimpleNamespace(services=services, work=services.work, upload={"path": str(path)})

    return build


def test_what_is_measured_is_kept_when_the_caption_fails(work, tiny_captioner, monkeypatch, caplog):
    app = work(model=str(tiny_captioner))

    given = "a secret"

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError(given)

    monkeypatch.setattr(app.services.captioner, "complete_in_steps", fail)
    reading = app.work.caption(app.upload, None, "normal", ADA)
    assert reading.valid is True
    assert reading.blur_variance > reading.threshold
    assert (reading.caption, reading.error) == (None, explain(ZeroDivisionError()))
    assert "ZeroDivisionError" in caplog.text
    assert "secret" not in caplog.text


def test_a_model_that_cannot_be_loaded_is_told_to_users_without_its_path(work, tmp_path, caplog, monkeypatch):
    app = work(model=str(tmp_path / "no-model-here"))
    assert app.services.problem() is None
    app.work.warm_up()
    assert app.services.problem() == "the model cannot be used"  # which is what healthz reports
    assert "no-model-here" in caplog.text  # the operator's log names it
    reading = app.work.caption(app.upload, None, "normal", ADA)
    assert reading.valid is True
    assert "cannot write captions at present" in reading.error
    assert "no-model-here" not in reading.error
    loads = []
    monkeypatch.setattr(app.services.captioner, "warm", lambda: loads.append(1))
    app.work.warm_up()
    assert loads == []  # a broken model is not read again at every request
    app.work.models.default._failed_at -= RETRY_SECONDS + 1  # a minute later
    app.work.warm_up()
    assert loads == [1]
    assert app.services.problem() is None


@pytest.mark.parametrize("ask", ["caption", "check", "refused", "map", "link", "page link"])
def test_everything_that_costs_is_counted(work, ask, tmp_path):
    app = work(pictures_per_account="2/hour", model=str(tmp_path / "none"))
    bad = app.services.uploads.folder / "bad.jpg"
    bad.write_bytes(b"no picture")
    app.services.uploads.add(bad, ADA.user_id)
    asks = {
        "caption": lambda: app.work.caption(app.upload, None, "normal", ADA).error,
        "check": lambda: app.work.check(app.upload, None, ADA).error,
        "refused": lambda: app.work.check({"path": str(bad)}, None, ADA).error,
        "map": lambda: app.work.draw_map(app.work.opener.open_upload(app.upload, ADA).pixels),
        "link": lambda: app.work.check(None, "http://127.0.0.1:9/", ADA).error,
        "page link": lambda: app.work.opener.keep_link("http://127.0.0.1:9/", ADA),
    }
    said = []
    for _ in range(3):
        try:
            said.append(str(asks[ask]()))
        except InputError as error:
            said.append(str(error))
    assert ["Too many tries to open pictures" in sentence for sentence in said] == [False, False, True]
    assert "Too many" not in str(app.work.check(app.upload, None, Caller(2, None)).error)


def test_a_caption_that_is_not_allowed_any_more_still_has_its_verdict(work, tiny_captioner):
    app = work(captions_per_account="1/hour", model=str(tiny_captioner))
    assert app.work.caption(app.upload, None, "normal", ADA).caption
    reading = app.work.caption(app.upload, None, "normal", ADA)
    assert reading.valid is True
    assert "Too many tries to ask for captions" in reading.error


def test_a_caption_that_cannot_be_kept_is_shown_all_the_same(work, tiny_captioner, monkeypatch):
    app = work(model=str(tiny_captioner))

    def fail(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("The server cannot reach its storage just now; try again in a minute.")

    monkeypatch.setattr(app.services.history, "add", fail)
    reading = app.work.caption(app.upload, None, "normal", ADA)
    assert reading.caption
    assert reading.error.startswith("This reading is not in your history. The server cannot reach")


def test_a_model_on_offer_is_chosen_by_name(work, tiny_captioner, tmp_path):
    other = shutil.copytree(tiny_captioner, tmp_path / "other")
    (other / "scores.json").write_text('{"n": 9, "CIDEr": 0.5, "BLEU-4": 0.2}')
    app = work(model=str(tiny_captioner), more_models=f"{other},")
    first, second = app.work.models
    assert (second.name, second.scores()) == ("other", {"CIDEr": 0.5, "BLEU-4": 0.2})
    assert app.work.caption(app.upload, None, "normal", ADA, model="other").caption
    assert first.captioner._writer is None  # each is loaded when it is first chosen
    assert app.services.history.search(ADA.user_id)[0].model == "other"
    assert app.work.caption(app.upload, None, "normal", ADA).caption
    assert app.services.history.search(ADA.user_id)[0].model == first.name
    refused = app.work.caption(app.upload, None, "normal", ADA, model="none such")
    assert refused.error == f"model must be {first.name} or other, not 'none such'."


def test_a_model_is_warmed_when_it_is_first_used(work, tiny_captioner, tmp_path, monkeypatch):
    shutil.copytree(tiny_captioner, other := tmp_path / "other")
    app = work(model=str(tiny_captioner), more_models=str(other))
    warm, warmed = Captioner.warm, []

    def note(captioner: Captioner) -> None:
        warmed.append(captioner.settings.model)
        warm(captioner)

    monkeypatch.setattr(Captioner, "warm", note)
    for name in ("", "other", "other", ""):
        assert app.work.caption(app.upload, None, "normal", ADA, model=name).caption
    assert warmed == [str(tiny_captioner), str(other)]


def test_errors_are_explained_in_a_sentence():
    assert explain(InputError("The file is empty: choose a picture.")) == "The file is empty: choose a picture."
    assert explain(Throttled("Too many.", 3)) == "Too many."
    for error in (MemoryError(), RuntimeError("/srv/secret/path"), np.linalg.LinAlgError("x"), KeyError("user")):
        assert explain(error).startswith("Something went wrong on this server")
