"""A small real HTTP server on loopback that answers as a test says, honestly or not."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Reply = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    port: int
    requests: list[str] = field(default_factory=list)

    def url(self, path: str = "/", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


@asynccontextmanager
async def serve(
    reply: Reply,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    refuses_tls: bool = False,
) -> AsyncIterator[Server]:
    """Answer each request by `reply(path, writer)`, and keep the text of every request.

    Without `tls` a TLS handshake hangs; with `refuses_tls` it fails at once, as it does at most servers.
    """
    seen = Server(0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.readexactly(1)
            if refuses_tls and first == b"\x16":
                return
            request = (first + await reader.readuntil(b"\r\n\r\n")).decode()
            seen.requests.append(request)
            await reply(request.split()[1], writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has seen enough
        finally:
            writer.close()

    server = await asyncio.start_server(answer, host, port, ssl=tls)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()


def body(content: bytes, *headers: str, status: str = "200 OK") -> Reply:
    """A reply with `content`, honest about its length unless `headers` give another."""
    lines = list(headers)
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in lines):
        lines.append(f"Content-Length: {len(content)}")

    async def reply(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode() + content)

    return reply


def redirect(location: str, status: str = "302 Found") -> Reply:
    return body(b"", f"Location: {location}", status=status)
