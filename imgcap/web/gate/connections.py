"""Limit the connections from one address, the connections in all, and the time that a request's head may take.

uvicorn 0.54 waits for the first byte of a request, and for the rest of its head, without a limit; and asyncio logs
2,000 errors a second when the process has no descriptor left. uvicorn makes a protocol of `Config.http_protocol_class`
for each connection, and `bounded_protocol` replaces that class.
"""

import asyncio
import ipaddress
import logging
import resource
import time
from collections import Counter
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

logger = logging.getLogger(__name__)

HEAD_SECONDS = 10.0
"""Seconds that the head of a request may take, from the connection or from its first byte."""
OTHER_DESCRIPTORS = 200
"""Descriptors reserved for the database, uploads, decoders and links."""
TOO_MANY = (
    b"HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nRetry-After: 10\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 61\r\n\r\nToo many connections are open; close some, and try once more."
)


class Connections:
    """Counts open connections. Only the event loop uses it.

    Args:
        per_address: number of connections that one address may have open; IPv6 addresses count by their /64.
        total: number of open connections in all.
        proxies: addresses and networks, comma-separated, that are not limited, since each serves many people.
    """

    def __init__(self, per_address: int, total: int, proxies: str) -> None:
        self._per_address = per_address
        self._total = total
        self._proxies = [ipaddress.ip_network(entry.strip()) for entry in proxies.split(",") if _is_network(entry)]
        self._trusts_all = proxies.strip() == "*"
        self._open: Counter[str] = Counter()

    def add(self, address: str) -> bool:
        """Count one more connection from an address; return False, without counting, if it exceeds a limit."""
        key = self._key(address)
        if self._open.total() >= self._total or (key is not None and self._open[key] >= self._per_address):
            return False
        self._open[key or ""] += 1
        return True

    def remove(self, address: str) -> None:
        """Count one connection less from an address."""
        key = self._key(address) or ""
        self._open[key] -= 1
        if self._open[key] <= 0:
            del self._open[key]

    def _key(self, address: str) -> str | None:
        """Return the key under which an address counts; None if it is a proxy's or unknown."""
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return None
        if self._trusts_all or any(ip in network for network in self._proxies):
            return None
        return str(ip) if ip.version == 4 else str(ipaddress.ip_network((int(ip), 64), strict=False))


def bounded_protocol(connections: Connections) -> type[H11Protocol]:
    """Return uvicorn's HTTP protocol with limits on the number of connections and the time of request heads."""

    class BoundedProtocol(H11Protocol):
        counted = False
        deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own
            super().connection_made(transport)
            self.counted = connections.add(self.address)
            if self.counted:
                self.expect_head()
            else:
                transport.write(TOO_MANY)
                transport.close()

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self.stop_clock()
            elif self.deadline is None:
                self.expect_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self.stop_clock()
            if self.counted:
                connections.remove(self.address)
            super().connection_lost(exc)

        @property
        def address(self) -> str:
            return self.client[0] if self.client else ""

        def expect_head(self) -> None:
            self.deadline = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

        def stop_clock(self) -> None:
            if self.deadline is not None:
                self.deadline.cancel()
                self.deadline = None

    return BoundedProtocol


def raise_descriptor_limit() -> int:
    """Raise the limit on descriptors to the maximum for this process, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2**16 if hard == resource.RLIM_INFINITY else hard
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return 2**16 if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def bound_connections(config: uvicorn.Config, per_address: int, proxies: str) -> Connections:
    """Limit the connections of a running server from now on, and return their counter."""
    descriptors = raise_descriptor_limit()
    total = max(descriptors - OTHER_DESCRIPTORS, descriptors // 2)
    connections = Connections(per_address, total, proxies)
    config.http_protocol_class = bounded_protocol(connections)
    config.timeout_graceful_shutdown = 3
    logging.getLogger("asyncio").addFilter(OncePerSecond())
    return connections


class OncePerSecond(logging.Filter):
    """Passes one line per second of the thousands that asyncio logs when descriptors run out."""

    def __init__(self) -> None:
        super().__init__()
        self._last = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record should be written."""
        if "out of system resource" not in record.getMessage():
            return True
        now = time.monotonic()
        if now - self._last < 1:
            return False
        self._last, record.exc_info = now, None
        return True


def _is_network(entry: Any) -> bool:
    try:
        ipaddress.ip_network(entry.strip())
    except ValueError:
        return False
    return True
