"""Make Gradio use the app's sessions: it asks these functions who is signed in, and signs nobody in itself."""

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request

from imgcap.accounts.tables import User
from imgcap.web.gate.refusals import SIGN_IN_FIRST
from imgcap.web.gate.requests import ASKER


def name_asker(request: Request) -> str | None:
    """Return the id of the account that the guard found, as text, which Gradio uses as the user's name."""
    asker: User | None = request.scope.get(ASKER)
    return None if asker is None else str(asker.id)


def check_logins_on_the_event_loop(app: FastAPI) -> None:
    """Replace Gradio's check that somebody is signed in, a plain function, for which requests wait for a thread."""
    [config] = [route for route in app.routes if isinstance(route, APIRoute) and route.path == "/config"]
    gradios = config.dependencies[0].dependency
    if gradios is None:
        raise RuntimeError("Gradio checks logins in another way than this code knows.")

    async def check(request: Request) -> None:
        if name_asker(request) is None:
            raise HTTPException(401, SIGN_IN_FIRST)

    app.dependency_overrides[gradios] = check


async def refuse_everybody(username: str, password: str) -> bool:  # noqa: ARG001  the signature is Gradio's
    """Refuse every sign-in by Gradio's own route, which the app's routes precede.

    Gradio only asks for sessions if it has such a function. It must be a coroutine function: with any other callable
    that returns a coroutine, Gradio lets everybody in.
    """
    return False
