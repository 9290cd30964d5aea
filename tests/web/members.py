"""A signed-in user with a batch, for the tests of batches."""

import io
import time
import zipfile

from running import PASSWORD


class Member:
    """A signed-in user with a batch."""

    def __init__(self, client, services, name: str) -> None:
        self.client, self.services = client, services
        client.cookies.clear()
        client.post("/login/register", data={"username": name, "password": PASSWORD})
        self.cookies = dict(client.cookies)
        self.id = services.accounts.get(name).id

    def ask(self, method: str, path: str, **options):
        self.client.cookies.clear()
        self.client.cookies.update(self.cookies)
        return self.client.request(method, path, **options)

    def send(self, name: str, content: bytes):
        return self.ask("POST", "/batch/files", params={"name": name}, content=content)

    def state(self, **since) -> dict:
        return self.ask("GET", "/batch/state", params=since).json()

    def wait(self) -> dict:
        deadline = time.monotonic() + 60
        while (state := self.state())["state"] == "running":
            assert time.monotonic() < deadline, state
            time.sleep(0.05)
        return state


def pack(**files: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def wait_until(true) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
