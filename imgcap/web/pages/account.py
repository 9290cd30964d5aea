"""Show and change an account, its tokens and its data."""

from collections.abc import Mapping

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from imgcap.accounts.tables import utc_now
from imgcap.errors import InputError
from imgcap.web.gate.requests import address_of, download, read_form, read_number, user_of
from imgcap.web.pages.base import Pages
from imgcap.web.services import Services
from imgcap.web.texts import texts_of


def account_routes(services: Services) -> list[BaseRoute]:
    """Return the routes."""
    pages = AccountPages(services)
    return [
        Route("/account", pages.show_account),
        Route("/account/password", pages.change_password, methods=["POST"]),
        Route("/account/tokens", pages.add_token, methods=["POST"]),
        Route("/account/tokens/revoke", pages.revoke_token, methods=["POST"]),
        Route("/account/delete", pages.delete_account, methods=["POST"]),
        Route("/account/data", pages.download_data),
    ]


class AccountPages(Pages):
    """The handlers of the routes."""

    async def show_account(self, request: Request) -> Response:
        """Show the account page."""
        return await self._account_page(request)

    async def change_password(self, request: Request) -> Response:
        """Change the password; every other session of the user ends."""
        form, user = await read_form(request), user_of(request)
        try:
            await self._prove(request, form["current"], "The current password is wrong; type it again.")
            await self.services.accounts.aset_password(user, form["new"], self._token(request))
        except InputError as error:
            return await self._account_page(request, error)
        return await self._account_page(request, done=texts_of(request)("account.password_changed"))

    async def add_token(self, request: Request) -> Response:
        """Make an access token if the password is right, and show it once."""
        form, user = await read_form(request), user_of(request)
        days = None if form["days"] == "never" else read_number(form["days"], 0)
        try:
            await self._prove(request, form["password"], texts_of(request)("account.wrong_password_token"))
            token = await run_in_threadpool(self.services.tokens.add, user.id, form["name"], days)
        except InputError as error:
            return await self._account_page(request, error)
        made = {"name": form["name"], "token": token}
        return await self._account_page(request, done=texts_of(request)("account.token_made"), made=made)

    async def revoke_token(self, request: Request) -> Response:
        """Revoke an access token."""
        form = await read_form(request)
        try:
            await run_in_threadpool(self.services.tokens.revoke, user_of(request).id, form["name"])
        except InputError as error:
            return await self._account_page(request, error)
        done = texts_of(request)("account.token_revoked", name=form["name"])
        return await self._account_page(request, done=done)

    async def delete_account(self, request: Request) -> Response:
        """Delete the account and everything stored about it, if the password is right."""
        form, user = await read_form(request), user_of(request)
        try:
            await self._prove(request, form["password"], texts_of(request)("account.wrong_password"))
            await self.services.delete_account(user.id)
        except InputError as error:
            return await self._account_page(request, error)
        return self._leave(request, "sign_in.html", texts_of(request)("signin.account_deleted"))

    async def download_data(self, request: Request) -> Response:
        """Send everything stored about the user as a ZIP archive."""
        archive = await run_in_threadpool(self.services.accounts.export, user_of(request))
        return download(archive, "imgcap-data.zip", "application/zip")

    async def _prove(self, request: Request, password: str, otherwise: str) -> None:
        """Make sure that the user asks, and not another person at their screen.

        People who sign in with Hugging Face may leave the password empty for a while after signing in.

        Raises:
            InputError: the password is wrong (with the sentence `otherwise`), or the sign-in was too long ago.
        """
        user, identities = user_of(request), self.services.identities
        if not password and await run_in_threadpool(identities.is_linked, user.id):
            if not await run_in_threadpool(identities.is_fresh, user.id, self._token(request)):
                raise InputError("Sign out and sign in with Hugging Face again, and do this within ten minutes.")
            return
        verified = await self.services.sign_in(user.name, password, address_of(request))
        if verified is None or verified.id != user.id:
            raise InputError(otherwise)

    async def _account_page(
        self, request: Request, error: InputError | None = None, done: str = "", made: Mapping[str, str] | None = None
    ) -> Response:
        user = user_of(request)
        shown = {
            "user": user.name,
            "tokens": await run_in_threadpool(self.services.tokens.list, user.id),
            "now": utc_now(),
            "made": made,
            "linked": await run_in_threadpool(self.services.identities.is_linked, user.id),
            "min_password_length": self.services.settings.min_password_length,
        }
        return self._page(request, "account.html", error, done=done, **shown)
