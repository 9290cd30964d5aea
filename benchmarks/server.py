"""Load and attack a local server: `python -m benchmarks.server PHOTO [--seconds 10] [--scale 3]`.

It starts the app in a separate process with a temporary folder, sends requests only to 127.0.0.1, and ends by itself.

- Load: for several numbers of clients and kinds of request (page, check, caption), the rate, p50, p95 and p99 in
  milliseconds, errors, and the server's memory before, at its peak and after, decoders included. Rate limits are off,
  and each client has its own account.
- Attacks, with default settings: one account repeats what once stopped or starved the server, `--scale` times as much,
  while a second user opens the page and captions a photo. The table compares the second user's times with their times
  at rest. The attacker is a separate process with a lower priority (`nice`), since a real one has its own processor.
- Growth: `--calls` calls without an image, after a fifth as many to begin with, and the server's memory after each
  fifth.
"""

import argparse
import asyncio
import contextlib
import io
import json
import multiprocessing
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import SynchronizedArray
from pathlib import Path

import httpx
import numpy as np
import psutil
from PIL import Image

from imgcap.accounts.accounts import Accounts
from imgcap.accounts.database import open_database
from imgcap.accounts.sessions import SessionStore
from imgcap.settings import ROOT, Settings
from imgcap.web.cookies import Cookies, read_server_id

ATTACKER, USER = "127.0.0.2", "127.0.0.3"  # different addresses, so that they do not share one allowance
NICE = 5
"""The attacker's niceness, so that the server gets most of a core that both want."""
ASKED, TAKEN, ANSWERED = range(3)
PATIENCE = 30.0
"""Seconds that a client waits for an answer."""
LIMITS = [f"{kind}_per_{who}" for kind in ("captions", "pictures", "sign_in") for who in ("account", "address")]


@dataclass
class Server:
    """A server in a separate process."""

    url: str
    process: subprocess.Popen[bytes]
    settings: Settings
    peak: float = 0.0
    peak_in_all: float = 0.0

    def memory(self) -> float:
        """Return the MB of the server's own process, without its decoders."""
        return psutil.Process(self.process.pid).memory_info().rss / 2**20

    def memory_in_all(self) -> float:
        """Return the MB of the server's process and its decoders, with shared memory counted once (on Linux)."""
        return memory(self.process.pid)

    def cookie(self) -> dict[str, str]:
        """Return the cookie of a new signed-in user."""
        database = open_database(self.settings)
        accounts, name, token = Accounts(database, self.settings), secrets.token_hex(8), secrets.token_urlsafe(16)
        accounts.create(f"u{name}", "correct horse battery staple")
        SessionStore(database, self.settings)[token] = f"u{name}"
        accounts.close()
        database.close()
        cookies = Cookies(read_server_id(self.settings.data_dir), self.settings)
        return {cookies.plain_name: token}

    def client(self) -> httpx.AsyncClient:
        """Return a client that is signed in as a new user."""
        return open_client(self.url, self.cookie(), USER)


def memory(pid: int) -> float:
    """Return the MB of a process and its children, with shared memory counted once (on Linux)."""
    total = 0.0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            whole = process.memory_full_info()
            total += getattr(whole, "pss", whole.rss) / 2**20
    except psutil.Error:
        return total
    return total


def open_client(url: str, cookie: dict[str, str], address: str) -> httpx.AsyncClient:
    """Return a user's client, which calls from an address of the loopback network."""
    limits = httpx.Limits(max_connections=90)
    transport = httpx.AsyncHTTPTransport(local_address=address, limits=limits)
    timeout = httpx.Timeout(PATIENCE, pool=None)
    return httpx.AsyncClient(base_url=url, transport=transport, cookies=cookie, timeout=timeout)


@contextlib.contextmanager
def serving(**chosen: object) -> Iterator[Server]:
    """Run a server until the block ends."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        settings = Settings(data_dir=Path(folder), port=port, host="127.0.0.1", **chosen)
        given = {"data_dir": folder, "port": port, "host": "127.0.0.1", **chosen}
        environment = os.environ | {f"IMGCAP_{name.upper()}": str(value) for name, value in given.items()}
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=log, stderr=log)
            server = Server(f"http://127.0.0.1:{port}", process, settings)
            try:
                wait_for(server, Path(folder) / "log")
                yield server
            finally:
                process.terminate()
                process.wait(60)


def wait_for(server: Server, log: Path) -> None:
    """Wait until the server answers; raise SystemExit with its log if it ends before."""
    while True:
        if server.process.poll() is not None:
            raise SystemExit(log.read_text())
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{server.url}/gradio_api/healthz").status_code == 200:
                return
        time.sleep(0.2)


async def upload(client: httpx.AsyncClient, data: bytes) -> dict[str, str]:
    """Return a payload that names an upload of the client's."""
    answer = await client.post("/gradio_api/upload", files={"files": ("photo.jpg", data)})
    answer.raise_for_status()
    return {"path": answer.json()[0]}


async def call(client: httpx.AsyncClient, endpoint: str, *data: object) -> dict[str, object]:
    """Return the reading of a call of the API."""
    asked = await client.post(f"/gradio_api/call/{endpoint}", json={"data": list(data)})
    asked.raise_for_status()
    events = (await client.get(f"/gradio_api/call/{endpoint}/{asked.json()['event_id']}")).text
    reading: dict[str, object] = json.loads(events.partition("event: complete\ndata: ")[2].splitlines()[0])[0]
    return reading


async def open_page(client: httpx.AsyncClient) -> None:
    """Request what a browser requests first."""
    for path in ("/", "/config", "/pages/app.js", "/history"):
        (await client.get(path)).raise_for_status()


@dataclass
class Times:
    """Seconds of one kind of request, including those without an answer in time, and the number of failures."""

    seconds: list[float] = field(default_factory=list)
    errors: int = 0

    async def take(self, work: Awaitable[object]) -> None:
        """Record the time of some work, or its failure."""
        began = time.perf_counter()
        try:
            await work
        except (httpx.HTTPError, IndexError, ValueError) as error:
            self.errors += 1
            if not isinstance(error, httpx.TimeoutException):
                return
        self.seconds.append(time.perf_counter() - began)

    def at(self, share: float) -> float:
        """Return the milliseconds within which a share of the requests was answered; NaN without requests."""
        return 1000 * float(np.quantile(self.seconds, share)) if self.seconds else float("nan")


@contextlib.asynccontextmanager
async def watched(server: Server) -> AsyncIterator[None]:
    """Record the peak of the server's memory during the block."""

    def note() -> None:
        with contextlib.suppress(psutil.NoSuchProcess):  # an attack may end the server
            server.peak = max(server.peak, server.memory())
            server.peak_in_all = max(server.peak_in_all, server.memory_in_all())

    async def watch() -> None:
        while True:
            note()
            await asyncio.sleep(0.5)  # counting the shared memory takes the system milliseconds

    server.peak = server.peak_in_all = 0.0
    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        note()


async def load(server: Server, photo: bytes, kind: str, clients: int, seconds: float) -> str:
    """Return the table's row of one kind of request from several clients at once."""
    people = [server.client() for _ in range(clients)]
    images = [await upload(person, photo) for person in people]
    work: dict[str, Callable[[int], Awaitable[object]]] = {
        "page": lambda n: open_page(people[n]),
        "check": lambda n: call(people[n], "check", images[n], None),
        "caption": lambda n: call(people[n], "caption", images[n], None, "normal"),
    }
    times, before, end = Times(), server.memory_in_all(), time.perf_counter() + seconds

    async def repeat(n: int) -> None:
        while time.perf_counter() < end:
            await times.take(work[kind](n))

    began = time.perf_counter()
    async with watched(server):
        await asyncio.gather(*map(repeat, range(clients)))
    took = time.perf_counter() - began
    for person in people:
        await person.aclose()
    rates = f"{len(times.seconds) / took:.1f} | " + " | ".join(f"{times.at(q):.0f}" for q in (0.5, 0.95, 0.99))
    taken = f"{before:.0f} | {server.peak_in_all:.0f} | {server.memory_in_all():.0f}"
    return f"| {kind} | {clients} | {rates} | {times.errors} | {taken} |"


def png(width: int, height: int) -> bytes:
    """Return a small PNG of many pixels."""
    file = io.BytesIO()
    Image.fromarray(np.zeros((height, width), np.uint8)).save(file, "PNG")
    return file.getvalue()


@dataclass
class Attacker:
    """One account's client, with counts of its requests."""

    client: httpx.AsyncClient
    port: int
    photo: bytes
    scale: int
    tally: SynchronizedArray
    """Requests asked, taken (not refused with 429 or 503), and answered; shared with the process that measures."""

    def note(self, outcome: int) -> None:
        """Count the outcome of a request."""
        self.tally[outcome] += 1

    async def ask(self, endpoint: str, *data: object, read: bool = True) -> None:
        """Call the API, and read the answer or leave it unread."""
        self.note(ASKED)
        asked = await self.client.post(f"/gradio_api/call/{endpoint}", json={"data": list(data)})
        if asked.status_code != 200:
            return
        self.note(TAKEN)
        if read:
            await self.client.get(f"/gradio_api/call/{endpoint}/{asked.json()['event_id']}")
            self.note(ANSWERED)


async def all_at_once(works: list[Awaitable[object]]) -> None:
    """Wait for all works, whatever their results, since an attacker ignores refusals."""
    await asyncio.gather(*works, return_exceptions=True)


async def leave_answers_unread(attacker: Attacker) -> None:
    """Check a large image many times, and send thousands of calls whose answers are never read."""
    image = await upload(attacker.client, png(8000, 8000))
    await all_at_once([attacker.ask("check", image, None, read=False) for _ in range(30 * attacker.scale)])
    await all_at_once([attacker.ask("check", None, None, read=False) for _ in range(2100 * attacker.scale)])


async def send_narrow_pictures(attacker: Attacker) -> None:
    """Check images of one pixel by 64 million, and the largest allowed ones."""
    pictures = [png(1, 64_000_000), png(64, 1_000_000), png(8000, 8000)]
    images = [await upload(attacker.client, data) for data in pictures]
    await all_at_once([attacker.ask("check", image, None) for image in images for _ in range(8 * attacker.scale)])


async def cost_without_counting(attacker: Attacker) -> None:
    """Follow links to a server that never answers, and check one image many times."""
    kept: list[object] = []  # a connection that nobody keeps is closed
    silent = await asyncio.start_server(lambda *ends: kept.append(ends), "127.0.0.1", 0)
    link = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/"
    image = await upload(attacker.client, attacker.photo)
    asked = [attacker.ask("check", None, link) for _ in range(192 * attacker.scale)]
    asked += [attacker.ask("check", image, None) for _ in range(110 * attacker.scale)]
    await all_at_once(asked)
    silent.close()


async def fill_the_queue(attacker: Attacker) -> None:
    """Request a hundred captions at once."""
    image = await upload(attacker.client, attacker.photo)
    await all_at_once([attacker.ask("caption", image, None, "long") for _ in range(100 * attacker.scale)])


async def hold_connections(attacker: Attacker) -> None:
    """Open connections that send a byte a second."""
    opened = []
    for _n in range(200 * attacker.scale):
        attacker.note(ASKED)
        with contextlib.suppress(OSError):
            opened.append(await asyncio.open_connection("127.0.0.1", attacker.port, local_addr=(ATTACKER, 0)))
            attacker.note(TAKEN)
    for _n in range(15):
        for _reader, writer in opened:
            if not writer.is_closing():
                writer.write(b"G")
        await asyncio.sleep(1)
    for _reader, writer in opened:
        writer.close()


ATTACKS: dict[str, Callable[[Attacker], Awaitable[None]]] = {
    "unread answers": leave_answers_unread,
    "narrow pictures": send_narrow_pictures,
    "links and checks": cost_without_counting,
    "a full queue": fill_the_queue,
    "slow connections": hold_connections,
}


ATTACK_COLUMNS = [
    "attack",
    "requests, taken, answered",
    "page p95 ms at rest",
    "under attack",
    "caption p50 ms at rest",
    "under attack",
    "p95",
    "ratio",
    "errors",
    "peak MB, with decoders",
    "health",
]


def attack_alone(
    name: str, url: str, cookie: dict[str, str], photo: bytes, scale: int, limit: float, tally: SynchronizedArray
) -> None:
    """Attack from a separate process, for at most `limit` seconds."""
    os.nice(NICE)

    async def run() -> None:
        async with open_client(url, cookie, ATTACKER) as client:
            attacker = Attacker(client, int(url.rpartition(":")[2]), photo, scale, tally)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ATTACKS[name](attacker), limit)

    asyncio.run(run())


async def use(client: httpx.AsyncClient, photo: bytes, is_over: Callable[[], bool], least: int) -> tuple[Times, Times]:
    """Open the page and caption a photo in turns until `is_over`, and at least `least` times."""
    pages, captions = Times(), Times()
    image = await upload(client, photo)
    while not is_over() or len(captions.seconds) < least:
        await pages.take(open_page(client))
        if len(captions.seconds) < 50:  # of the 60 a minute that are allowed
            await captions.take(call(client, "caption", image, None, "normal"))
        await asyncio.sleep(0.2)
    return pages, captions


async def attack(name: str, photo: bytes, scale: int, limit: float) -> str:
    """Return the table's row of one attack."""
    context = multiprocessing.get_context("spawn")
    with serving(allow_private_links=name == "links and checks") as server:
        async with server.client() as user:
            await call(user, "caption", await upload(user, photo), None, "normal")  # the model is loaded
            at_rest = await use(user, photo, lambda: True, 5)
            tally = context.Array("i", 3)
            given = (name, server.url, server.cookie(), photo, scale, limit, tally)
            attacker = context.Process(target=attack_alone, args=given, daemon=True)
            async with watched(server):
                attacker.start()
                end = time.monotonic() + limit + PATIENCE / 3  # it also has to start
                pages, captions = await use(user, photo, lambda: not attacker.is_alive() or time.monotonic() > end, 5)
            attacker.kill()
            health = "restarted" if server.process.poll() is not None else (await ask_health(user))
            ratio = captions.at(0.5) / at_rest[1].at(0.5)
            sent = f"{tally[ASKED]}, {tally[TAKEN]}, {tally[ANSWERED]}"
            times = f"{at_rest[0].at(0.95):.0f} | {pages.at(0.95):.0f} | {at_rest[1].at(0.5):.0f} | "
            times += f"{captions.at(0.5):.0f} | {captions.at(0.95):.0f} | {ratio:.1f}"
            errors = f"{pages.errors + captions.errors} of {len(pages.seconds) + len(captions.seconds)}"
            memory = f"{server.peak:.0f}, {server.peak_in_all:.0f}"
            return f"| {name} x {scale} | {sent} | {times} | {errors} | {memory} | {health} |"


async def ask_health(client: httpx.AsyncClient) -> str:
    """Return the server's own health report."""
    return str((await client.get("/gradio_api/healthz")).json()["status"])


async def grow(calls: int) -> None:
    """Print the server's memory after each fifth of the calls, and at rest before and after them."""
    with serving(**dict.fromkeys(LIMITS, "1000000/second")) as server:
        people = [server.client() for _ in range(8)]

        async def ask(person: httpx.AsyncClient, times: int) -> None:
            for _ in range(times):
                await call(person, "check", None, None)

        async def ask_all(times: int) -> None:
            await asyncio.gather(*(ask(person, times // len(people)) for person in people))

        await ask_all(calls // 5)  # what every server keeps
        await asyncio.sleep(15)  # what was delivered is let go of after some seconds
        before = server.memory()
        print(f"\n| calls | MB |\n|---|---|\n| 0, at rest | {before:.1f} |", flush=True)
        for fifth in range(1, 6):
            await ask_all(calls // 5)
            print(f"| {fifth * calls // 5} | {server.memory():.1f} |", flush=True)
        await asyncio.sleep(15)
        after = server.memory()
        print(f"| {calls}, at rest | {after:.1f} |\n\n{after - before:+.1f} MB")
        for person in people:
            await person.aclose()


async def measure(options: argparse.Namespace) -> None:
    """Print the tables."""
    photo = Path(options.photo).read_bytes()  # noqa: ASYNC240  nothing else runs yet
    if "load" in options.only:
        print("| request | clients | a second | p50 ms | p95 | p99 | errors | MB before | peak | after |")
        print("|---|---|---|---|---|---|---|---|---|---|")
        with serving(**dict.fromkeys(LIMITS, "1000000/second")) as server:
            async with server.client() as first:
                await call(first, "caption", await upload(first, photo), None, "normal")
            for kind in ("page", "check", "caption"):
                for clients in options.clients:
                    print(await load(server, photo, kind, clients, options.seconds), flush=True)
    if "attacks" in options.only:
        print(f"\n| {' | '.join(ATTACK_COLUMNS)} |\n|{'---|' * len(ATTACK_COLUMNS)}")
        for name in options.attacks or ATTACKS:
            print(await attack(name, photo, options.scale, options.limit), flush=True)
    if "growth" in options.only:
        await grow(options.calls)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", help="a sharp photograph")
    parser.add_argument(
        "--only", nargs="+", choices=["load", "attacks", "growth"], default=["load", "attacks", "growth"]
    )
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32], help="clients at once")
    parser.add_argument("--seconds", type=float, default=10, help="seconds of load a row")
    parser.add_argument("--attacks", nargs="+", choices=list(ATTACKS), help="which attacks; all by default")
    parser.add_argument("--scale", type=int, default=3, help="times the size that first stopped or starved the server")
    parser.add_argument("--limit", type=float, default=60, help="seconds after which an attack is broken off")
    parser.add_argument("--calls", type=int, default=10_000, help="calls whose memory is watched")
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
