"""Limit how often a person may sign in, register and ask for captions, by account and by address.

The `limits` library counts in moving windows and defines how limits are written: `10/minute; 60/hour`.
"""

import ipaddress
import math
import threading
import time
from collections.abc import Iterator
from typing import Literal

from limits import RateLimitItem, parse_many
from limits.errors import ConfigurationError, StorageError
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import MovingWindowRateLimiter

from imgcap.accounts.users import normalise_name
from imgcap.errors import InputError
from imgcap.settings import Settings

Kind = Literal["sign_in", "registration", "picture", "caption", "frame"]
VERBS: dict[Kind, str] = {
    "sign_in": "sign in",
    "registration": "register",
    "picture": "open pictures",
    "caption": "ask for captions",
    "frame": "check camera frames",
}
UNCOUNTED = "The server cannot count requests just now; try again in a minute."


class Throttled(InputError):  # noqa: N818  the term for HTTP status 429
    """A limit was reached.

    retry_after: whole seconds, at least 1, until the next try is allowed, for the header Retry-After.
    """

    def __init__(self, sentence: str, retry_after: int) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class Throttle:
    """Counts requests and refuses those above the limits of the settings. Safe to share between threads.

    Raises:
        InputError: a limit or the storage's URL in the settings cannot be read, or the storage's library is missing.
    """

    def __init__(self, settings: Settings) -> None:
        self._limits: dict[Kind, tuple[list[RateLimitItem], list[RateLimitItem]]] = {
            "sign_in": (_parse(settings.sign_in_per_account), _parse(settings.sign_in_per_address)),
            "registration": (_parse(settings.registrations_per_account), _parse(settings.registrations_per_address)),
            "picture": (_parse(settings.pictures_per_account), _parse(settings.pictures_per_address)),
            "caption": (_parse(settings.captions_per_account), _parse(settings.captions_per_address)),
            "frame": (_parse(settings.frames_per_account), _parse(settings.frames_per_address)),
        }
        self._lock = threading.Lock()
        try:
            self._limiter = MovingWindowRateLimiter(
                storage_from_string(settings.throttle_storage, wrap_exceptions=True)
            )
        except ConfigurationError as error:
            raise InputError(
                "IMGCAP_THROTTLE_STORAGE cannot be used; write memory:// or install the library that its URL needs."
            ) from error

    @property
    def waits(self) -> bool:
        """Whether counting may wait for another machine, so that it does not belong on the event loop."""
        return not isinstance(self._limiter.storage, MemoryStorage)

    def hit(self, kind: Kind, *, account: str | int | None, address: str | None, n: int = 1, keep: int = 0) -> None:
        """Count `n` requests, or refuse and count nothing.

        Args:
            kind: kind of the requests.
            account: the account's id, or a typed name if nobody is signed in; None without either.
            address: the client's IP address; None if it is unknown. IPv6 addresses count by their /64.
            n: number of requests, for a batch.
            keep: number of requests that must remain afterwards, if the limit allows so many.

        Raises:
            Throttled: a limit of the account or of the address would be exceeded.
        """
        with self._lock:
            self.check(kind, account=account, address=address, n=n, keep=keep)
            try:
                for item, key in self._buckets(kind, account, address):
                    if not self._limiter.hit(item, key, cost=n):  # another process counted meanwhile
                        raise self._refusal(kind, item, key, n)
            except StorageError as error:
                raise Throttled(UNCOUNTED, 60) from error
            self._forget()

    def check(self, kind: Kind, *, account: str | int | None, address: str | None, n: int = 1, keep: int = 0) -> None:
        """Refuse as `hit` would, without counting.

        Raises:
            Throttled: a limit of the account or of the address would be exceeded.
        """
        try:
            for item, key in self._buckets(kind, account, address):
                if not self._limiter.test(item, key, cost=max(n, min(n + keep, item.amount))):
                    raise self._refusal(kind, item, key, n)
        except StorageError as error:
            raise Throttled(UNCOUNTED, 60) from error

    def _forget(self) -> None:
        """Delete expired entries, since `limits` empties them but keeps their keys, and so every address ever seen."""
        storage = self._limiter.storage
        if isinstance(storage, MemoryStorage):
            for key in [key for key, events in list(storage.events.items()) if not events]:
                storage.clear(key)

    def _buckets(
        self, kind: Kind, account: str | int | None, address: str | None
    ) -> Iterator[tuple[RateLimitItem, str]]:
        by_account, by_address = self._limits[kind]
        if address is not None:
            yield from ((item, f"{kind}:address:{_network(address)}") for item in by_address)
        if account is not None:
            yield from ((item, f"{kind}:account:{_account_key(account)}") for item in by_account)

    def _refusal(self, kind: Kind, item: RateLimitItem, key: str, n: int) -> Throttled:
        if n > item.amount:
            return Throttled(f"{n} at once are too many; at most {item.amount} are allowed.", item.get_expiry())
        wait = max(1, math.ceil(self._limiter.get_window_stats(item, key).reset_time - time.time()))
        return Throttled(f"Too many tries to {VERBS[kind]}; try again in {_spell(wait)}.", wait)


def _parse(limits: str) -> list[RateLimitItem]:
    try:
        return parse_many(limits)
    except ValueError as error:
        raise InputError(
            f"The limit {limits!r} in the settings cannot be read; write it as 10/minute; 60/hour."
        ) from error


def _account_key(account: str | int) -> str:
    if isinstance(account, int):
        return f"#{account}"  # names cannot contain this sign
    try:
        return normalise_name(account)
    except InputError:
        return "malformed"  # one bucket for all, since none of them has an account


def _network(address: str) -> str:
    """Return the address itself, or for IPv6 its /64, which usually belongs to one household or server."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    return str(ip.ipv4_mapped or ipaddress.ip_network((int(ip), 64), strict=False))


def _spell(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} second{'s' * (seconds != 1)}"
    return f"{math.ceil(seconds / 60)} minutes"
