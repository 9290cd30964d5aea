"""An OpenID provider on loopback, as strict as it should be: one-time codes, PKCE, the client's secret, its address."""

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

CLIENT, SECRET = "the-client", "the-secret"


@dataclass
class Provider:
    """`claims` describes the next person who consents."""

    url: str = ""
    claims: dict[str, object] = field(default_factory=lambda: {"sub": "42", "preferred_username": "Ada"})
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    tokens: dict[str, dict[str, object]] = field(default_factory=dict)

    def consent(self, link: str) -> tuple[str, dict[str, str]]:
        """Agree at `link` for the person; return the address and the query to which their browser is sent back."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}
        assert query["client_id"] == CLIENT
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        assert query["scope"].split() == ["openid", "profile"]
        code = secrets.token_urlsafe(8)
        self.codes[code] = query
        return query["redirect_uri"], {"code": code, "state": query["state"]}

    def exchange(self, form: dict[str, str], authorization: str) -> dict[str, object] | None:
        query = self.codes.pop(form.get("code", ""), None)
        given = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        challenge = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if (
            query is None
            or authorization != f"Basic {given}"
            or form["redirect_uri"] != query["redirect_uri"]
            or base64.urlsafe_b64encode(challenge).rstrip(b"=").decode() != query["code_challenge"]
        ):
            return None
        token = secrets.token_urlsafe(8)
        self.tokens[token] = self.claims
        return {"access_token": token, "token_type": "Bearer", "id_token": "not.read.here"}


@contextmanager
def openid_provider() -> Iterator[Provider]:
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/.well-known/openid-configuration":
                names = ("authorization", "token", "userinfo")
                return self._answer({f"{name}_endpoint": f"{provider.url}/oauth/{name}" for name in names})
            return self._answer(provider.tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer ")))

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            fields = {name: values[0] for name, values in form.items()}
            self._answer(provider.exchange(fields, self.headers.get("Authorization", "")))

        def _answer(self, value: object) -> None:
            content = json.dumps(value or {"error": "invalid"}).encode()
            self.send_response(200 if value else 400)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield provider
        server.shutdown()
