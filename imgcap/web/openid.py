"""Sign in with an OpenID provider such as Hugging Face: the authorization code flow with state and PKCE (RFC 7636)."""

import base64
import hashlib
import hmac
import logging
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx

from imgcap.errors import InputError
from imgcap.settings import Settings

logger = logging.getLogger(__name__)

CALLBACK = "/login/callback"
SCOPE = "openid profile"
VISIT_SECONDS = 600
MAX_VISITS = 1_000
TIMEOUT = 10.0
FAILED = "Signing in with Hugging Face did not work; try again, or use a name and a password."
STALE = "Signing in took too long, or began in another browser; try again."


@dataclass(frozen=True)
class Visit:
    """A person's visit to the provider, from which they are expected back.

    state: value that the provider returns.
    verifier: proves to the provider that the server that asks for the tokens also sent the person.
    callback: address to return to.
    place: page that the person wanted to see.
    began: time of the start, in monotonic seconds.
    """

    state: str
    verifier: str
    callback: str
    place: str
    began: float


@dataclass(frozen=True)
class Person:
    """The provider's information about a person: `subject` is an id that never changes, `name` is their name there."""

    subject: str
    name: str


class OpenID:
    """The provider of the settings.

    Visits are kept in memory, so people must begin again after a restart.
    """

    def __init__(self, settings: Settings) -> None:
        self._provider = settings.openid_provider_url.rstrip("/")
        self._id = settings.oauth_client_id
        self._secret = settings.oauth_client_secret.get_secret_value()
        self._visits: OrderedDict[str, Visit] = OrderedDict()
        self._endpoints: dict[str, Any] = {}

    @property
    def offered(self) -> bool:
        """Whether people can sign in with the provider."""
        return bool(self._id)

    async def begin(self, callback: str, place: str) -> tuple[str, Visit]:
        """Return the provider's address to send a person to, and the visit to remember.

        Raises:
            InputError: the provider does not answer.
        """
        visit = Visit(secrets.token_urlsafe(32), secrets.token_urlsafe(48), callback, place, time.monotonic())
        digest = hashlib.sha256(visit.verifier.encode()).digest()
        query = {
            "client_id": self._id, "redirect_uri": callback, "response_type": "code", "scope": SCOPE,
            "state": visit.state, "code_challenge_method": "S256",
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        }  # fmt: skip
        endpoint = (await self._discover())["authorization_endpoint"]
        self._visits[visit.state] = visit
        while len(self._visits) > MAX_VISITS:
            self._visits.popitem(last=False)
        return f"{endpoint}?{urlencode(query)}", visit

    async def finish(self, state: str, remembered: str | None, code: str) -> tuple[Person, str]:
        """Return the person who came back from the provider, and the page that they wanted to see.

        Args:
            state: state in the address that they came back to.
            remembered: state in the cookie that their browser got when they left.
            code: code in that address; the provider gives it only to people who consented.

        Raises:
            InputError: the visit did not begin here a short while ago, or the provider refuses.
        """
        visit = self._visits.pop(state, None)
        ours = visit is not None and hmac.compare_digest(state.encode(), (remembered or "").encode())
        if visit is None or not ours or time.monotonic() - visit.began > VISIT_SECONDS:
            raise InputError(STALE)
        if not code:
            raise InputError(FAILED)
        endpoints = await self._discover()
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": visit.callback, "client_id": self._id,
            "code_verifier": visit.verifier,
        }  # fmt: skip
        tokens = await self._ask("POST", endpoints["token_endpoint"], data=form, auth=(self._id, self._secret))
        bearer = {"Authorization": f"Bearer {tokens.get('access_token', '')}"}
        claims = await self._ask("GET", endpoints["userinfo_endpoint"], headers=bearer)
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= 150:
            raise InputError(FAILED)
        name = claims.get("preferred_username") or claims.get("name") or ""
        return Person(f"{self._provider[:100]} {subject}", str(name)[:100]), visit.place

    async def _discover(self) -> dict[str, Any]:
        if not self._endpoints:
            self._endpoints = await self._ask("GET", f"{self._provider}/.well-known/openid-configuration")
        return self._endpoints

    async def _ask(self, method: str, url: str, **content: Any) -> dict[str, Any]:
        """Return the provider's answer, which comes over TLS from the provider itself, so claims need no signature."""
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT) as client:
                answer = (await client.request(method, url, **content)).raise_for_status().json()
            if isinstance(answer, dict):
                return answer
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            logger.warning("the OpenID provider did not answer as it should: %s", type(error).__name__)
        raise InputError(FAILED)
