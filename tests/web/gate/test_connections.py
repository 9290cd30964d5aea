"""Limits on connections, tried on the launched app over plain sockets."""

import contextlib
import logging
import socket
import time
from collections.abc import Iterator

import pytest

from imgcap.web.gate import bodies, connections
from imgcap.web.gate.connections import Connections, OncePerSecond


@contextlib.contextmanager
def connect(launched) -> Iterator[socket.socket]:
    host, port = launched.url.removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        yield connection


def read_to_the_end(connection) -> bytes:
    """What the server sends before it closes; a socket timeout if it never does."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(4096):
            received += part
    return received


@pytest.mark.parametrize("sent", [b"", b"GET /login HTTP/1.1\r\nHost: here.test\r\nX-Slow: "])
def test_a_head_that_does_not_come_is_not_waited_for(launched, monkeypatch, sent):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    with connect(launched) as connection:
        connection.sendall(sent)
        assert read_to_the_end(connection) == b""


def test_neither_is_the_second_head_on_a_connection(launched, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    with connect(launched) as connection:
        connection.sendall(b"GET /privacy HTTP/1.1\r\nHost: here.test\r\n\r\n")
        assert b"200 OK" in connection.recv(65536)
        connection.sendall(b"GET /privacy HTTP/1.1\r\nX-Slow: ")
        rest = read_to_the_end(connection)
        assert b"HTTP/1.1" not in rest


def test_a_body_that_does_not_come_is_not_waited_for(launched, monkeypatch):
    monkeypatch.setattr(bodies, "SILENT_SECONDS", 0.3)
    with connect(launched) as connection:
        head = b"POST /login/form HTTP/1.1\r\nHost: here.test\r\nContent-Length: 100\r\n"
        connection.sendall(head + b"Content-Type: application/x-www-form-urlencoded\r\n\r\nusername=")
        assert b"408" in connection.recv(65536).splitlines()[0]


def test_a_request_that_works_for_long_is_not_cut(launched, member, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    with member.stream("GET", "/gradio_api/heartbeat/long") as beat:
        parts = beat.iter_raw()
        next(parts)
        time.sleep(1)
        assert not beat.is_closed
        assert member.get("/privacy").status_code == 200


def test_one_address_has_so_many_connections_and_no_more(launched):
    counted = launched.connections
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect(launched)) for _ in range(counted._per_address + 5)]
        answers = []
        for connection in held[-5:]:
            connection.settimeout(5)
            with contextlib.suppress(TimeoutError):
                answers.append(read_to_the_end(connection))
        assert any(b"429 Too Many Requests" in answer and b"Retry-After" in answer for answer in answers)
    deadline = time.monotonic() + 20
    while counted._open.total() > 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert counted._open.total() <= 3, "closed connections are still counted"
    with connect(launched) as connection:
        connection.sendall(b"GET /privacy HTTP/1.1\r\nHost: here.test\r\nConnection: close\r\n\r\n")
        assert b"200 OK" in read_to_the_end(connection)


def test_ipv6_addresses_count_by_their_network_and_proxies_do_not_count():
    connections = Connections(2, 100, "10.0.0.0/8, nonsense, 192.0.2.1")
    assert [connections.add(f"2001:db8::{n}") for n in (1, 2, 3)] == [True, True, False]
    assert connections.add("2001:db8:0:1::1")
    assert all(connections.add("10.1.2.3") for _ in range(10))
    assert all(connections.add("192.0.2.1") for _ in range(10))
    connections.remove("2001:db8::9")
    assert connections.add("2001:db8::3")


def test_there_is_a_limit_for_all_together():
    connections = Connections(2, 3, "*")
    assert [connections.add(f"192.0.2.{n}") for n in range(5)] == [True, True, True, False, False]
    connections.remove("192.0.2.0")
    assert connections.add("192.0.2.7")


def test_a_lack_of_descriptors_does_not_fill_the_log():
    once, said = OncePerSecond(), "socket.accept() out of system resource"
    records = [logging.LogRecord("asyncio", logging.ERROR, "", 0, said, None, None) for _ in range(2000)]
    assert sum(map(once.filter, records)) == 1
    assert once.filter(logging.LogRecord("asyncio", logging.ERROR, "", 0, "anything else", None, None))
