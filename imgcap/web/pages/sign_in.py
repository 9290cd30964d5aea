"""Sign in, register and sign out."""

from collections.abc import Mapping

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from imgcap.accounts.passwords import PasswordError
from imgcap.accounts.throttling import Throttled
from imgcap.errors import InputError
from imgcap.web.gate.guard import NOTHING_HERE
from imgcap.web.gate.refusals import Refusal, as_refusal, safe_place
from imgcap.web.gate.requests import Form, address_of, is_secure, read_form, root_of, user_of
from imgcap.web.openid import CALLBACK
from imgcap.web.pages.base import Pages
from imgcap.web.services import Services
from imgcap.web.texts import texts_of


def sign_in_routes(services: Services) -> list[BaseRoute]:
    """Return the routes."""
    pages = SignInPages(services)
    return [
        Route("/login", pages.show_sign_in),
        Route("/login", pages.sign_in_program, methods=["POST"]),
        Route("/login/", pages.sign_in_program, methods=["POST"]),
        Route("/login/form", pages.sign_in, methods=["POST"]),
        Route("/login/huggingface", pages.leave_for_provider),
        Route(CALLBACK, pages.come_back_from_provider),
        Route("/login/register", pages.show_registration),
        Route("/login/register", pages.register, methods=["POST"]),
        Route("/logout", pages.show_sign_out),
        Route("/logout", pages.sign_out, methods=["POST"]),
    ]


class SignInPages(Pages):
    """The handlers of the routes."""

    async def show_sign_in(self, request: Request) -> Response:
        """Show the sign-in page."""
        return self._sign_in_page(request, Form(request.query_params))

    async def sign_in(self, request: Request) -> Response:
        """Sign in from the page's own form; programs use `POST /login`."""
        form = await read_form(request)
        try:
            user = await self.services.sign_in(form["username"], form["password"], address_of(request))
        except Throttled as error:
            return self._sign_in_page(request, form, error)
        if user is None:
            wrong = InputError(texts_of(request)("signin.wrong"))
            return self._sign_in_page(request, form, wrong)
        return await self._begin_session(request, user.name, form["next"])

    async def sign_in_program(self, request: Request) -> Response:
        """Sign in a program, such as gradio_client, and answer in JSON.

        It replaces Gradio's route with the same form, which writes the session on the event loop, where a locked
        database would delay all other requests.
        """
        form = await read_form(request)
        try:
            user = await self.services.sign_in(form["username"], form["password"], address_of(request))
        except Throttled as error:
            return as_refusal(error).respond(request)
        if user is None:
            return Refusal(400, "The name or the password is wrong.").respond(request)
        response = JSONResponse({"success": True})
        await self._set_session(request, response, user.name)
        return response

    async def leave_for_provider(self, request: Request) -> Response:
        """Send a person to Hugging Face, where they sign in."""
        form, services = Form(request.query_params), self.services
        if not services.openid.offered:
            return NOTHING_HERE.respond(request)
        host = services.settings.public_host
        start = f"https://{host}" if host else f"{request.url.scheme}://{request.url.netloc}"
        try:
            await services.hit("sign_in", None, address_of(request))
            link, visit = await services.openid.begin(f"{start}{root_of(request)}{CALLBACK}", safe_place(form["next"]))
        except InputError as error:
            return self._sign_in_page(request, form, error)
        response = RedirectResponse(link, 303)
        services.cookies.set_visit(response, visit.state, is_secure(request))
        return response

    async def come_back_from_provider(self, request: Request) -> Response:
        """Sign in a person whom Hugging Face sends back."""
        form, services = Form(request.query_params), self.services
        if not services.openid.offered:
            return NOTHING_HERE.respond(request)
        remembered = request.cookies.get(services.cookies.visit_name)
        try:
            await services.hit("sign_in", None, address_of(request))
            person, place = await services.openid.finish(form["state"], remembered, form["code"])
            user = await run_in_threadpool(services.identities.sign_in, person.subject, person.name)
        except InputError as error:
            return self._sign_in_page(request, Form(), error)
        response = await self._begin_session(request, user.name, place)
        services.cookies.clear_visit(response, is_secure(request))
        return response

    async def show_registration(self, request: Request) -> Response:
        """Show the registration page."""
        return self._registration_page(request, Form(request.query_params))

    async def register(self, request: Request) -> Response:
        """Create an account and sign in."""
        form = await read_form(request)
        try:
            await self.services.hit("registration", form["username"], address_of(request))
            user = await self.services.accounts.aregister(form["username"], form["password"])
        except InputError as error:
            return self._registration_page(request, form, error)
        return await self._begin_session(request, user.name, form["next"])

    async def show_sign_out(self, request: Request) -> Response:
        """Ask whether to sign out here or everywhere, since a link alone must not sign anyone out."""
        return self._page(request, "sign_out.html")

    async def sign_out(self, request: Request) -> Response:
        """End this session, or all of the user's sessions."""
        form = await read_form(request)
        if form["everywhere"]:
            await run_in_threadpool(self.services.sessions.end_all, user_of(request).id)
        else:
            await run_in_threadpool(self.services.sessions.end, self._token(request) or "")
        return self._leave(request, "sign_in.html", texts_of(request)("signin.signed_out"))

    def _sign_in_page(self, request: Request, form: Mapping[str, str], error: InputError | None = None) -> Response:
        shown = {"name": form["username"] if error else "", "next": safe_place(form["next"])}
        return self._page(
            request, "sign_in.html", error, open_registration=self.services.settings.open_registration, **shown
        )

    def _registration_page(
        self, request: Request, form: Mapping[str, str], error: InputError | None = None
    ) -> Response:
        return self._page(
            request,
            "register.html",
            error,
            wrong_password=isinstance(error, PasswordError),
            name=form["username"] if error else "",
            next=safe_place(form["next"]),
            open_registration=self.services.settings.open_registration,
            min_password_length=self.services.settings.min_password_length,
        )
