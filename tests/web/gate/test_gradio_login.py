"""What Gradio asks the app about sign-ins."""

import inspect

import pytest
from gradio.blocks import Blocks
from gradio.routes import App
from starlette.exceptions import HTTPException
from starlette.requests import Request

from imgcap.accounts.tables import User
from imgcap.web.gate.gradio_login import check_logins_on_the_event_loop
from imgcap.web.gate.requests import ASKER


async def test_gradios_own_check_of_the_login_needs_no_thread():
    app = App.create_app(Blocks())
    check_logins_on_the_event_loop(app)
    [(gradios, ours)] = app.dependency_overrides.items()
    assert gradios.__name__ == "login_check"
    assert inspect.iscoroutinefunction(ours)
    asked = Request({"type": "http", "method": "GET", "path": "/", "headers": []})
    with pytest.raises(HTTPException) as refusal:
        await ours(asked)
    assert refusal.value.status_code == 401
    asked.scope[ASKER] = User(id=7, name="ann")
    assert await ours(asked) is None
