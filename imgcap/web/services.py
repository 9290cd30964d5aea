"""Open and hold the services that the web server's parts share, such as accounts, history, uploads and captioner."""

from dataclasses import dataclass, field
from typing import IO

from starlette.concurrency import run_in_threadpool

from imgcap.accounts.accounts import Accounts
from imgcap.accounts.database import Database, open_database
from imgcap.accounts.history import History
from imgcap.accounts.identities import Identities
from imgcap.accounts.sessions import SessionStore
from imgcap.accounts.storage import storage_risk
from imgcap.accounts.tables import User
from imgcap.accounts.throttling import Kind, Throttle
from imgcap.accounts.tokens import Tokens
from imgcap.captioner import Captioner
from imgcap.errors import InputError
from imgcap.settings import Settings
from imgcap.web.batches.store import BatchLimits, BatchStore
from imgcap.web.batches.workers import BatchWorkers
from imgcap.web.cookies import Cookies, read_server_id
from imgcap.web.dataset.split import TestSplit
from imgcap.web.gradio_parts.queueing import FairQueue
from imgcap.web.intake.opening import Opener
from imgcap.web.intake.uploads import UploadLimits, Uploads, lock_data_folder, prepare_folder
from imgcap.web.models import Models
from imgcap.web.openid import OpenID
from imgcap.web.work import Work


@dataclass
class Lifecycle:
    """The server's state between its start and its end."""

    ready: bool = False
    """Whether sessions are ready. Until then, only the launch's own requests are answered."""
    draining: bool = False
    """Whether the process is about to stop: running requests may finish, and no new work begins."""
    open_streams: int = 0
    """Number of responses that are being streamed to clients."""


@dataclass
class Services:
    """The services that page, endpoints, sign-in pages and guard share."""

    settings: Settings
    captioner: Captioner
    database: Database
    accounts: Accounts
    identities: Identities
    openid: OpenID
    sessions: SessionStore
    tokens: Tokens
    throttle: Throttle
    history: History
    uploads: Uploads
    work: Work
    batches: BatchStore
    batch_workers: BatchWorkers
    split: TestSplit | None
    """The test split of the data set in the settings; None if they name none."""
    cookies: Cookies
    lock: IO[bytes]
    """Lock on the data folder, held until the server closes."""
    storage_risk: str
    """The result of `imgcap.accounts.storage.storage_risk`."""
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    queue: FairQueue | None = None
    """Gradio's queue of events; None until the page is launched."""

    async def hit(self, kind: Kind, account: int | str | None, address: str | None) -> None:
        """Count a request as `throttle.hit` does, in a thread, because the counts may be on another machine.

        Raises:
            Throttled: too many requests came for this account or from this address.
        """
        await run_in_threadpool(self.throttle.hit, kind, account=account, address=address)

    async def sign_in(self, name: str, password: str, address: str | None) -> User | None:
        """Return the user of a name and password, or None; every try is counted first.

        Raises:
            Throttled: too many tries came for this name or from this address.
        """
        await self.hit("sign_in", name, address)
        return await self.accounts.averify(name, password)

    async def delete_account(self, user_id: int) -> None:
        """Delete an account with its sessions, history, uploads and waiting work.

        Raises:
            InputError: the account does not exist.
        """
        await run_in_threadpool(self.accounts.delete, user_id)
        if self.queue is not None:
            await self.queue.drop_user(str(user_id))
        await run_in_threadpool(self.uploads.forget_user, user_id)
        await run_in_threadpool(self.batches.delete, user_id)

    def problem(self) -> str | None:
        """Return the reason why the server cannot write captions at present, in a few words; None if it can."""
        if self.lifecycle.draining:
            return "stopping"
        if self.queue is not None and not self.queue.is_alive():
            return "the queue is being restarted"
        return self.work.problem

    def start(self) -> None:
        """Start the work in the background, which goes on until `close`."""
        self.uploads.start()
        self.batch_workers.start()
        if self.split is not None:
            self.split.start()

    def close(self) -> None:
        """Stop the work in the background, and close the database and the data folder."""
        self.batch_workers.close()
        if self.split is not None:
            self.split.close()
        self.uploads.close()
        self.accounts.close()
        self.database.close()
        self.lock.close()


def open_services(settings: Settings, captioner: Captioner) -> Services:
    """Open the database and everything that uses it.

    Raises:
        InputError: the data folder or the database cannot be used, or another process uses the folder.
    """
    lock = lock_data_folder(settings.data_dir)  # first, so that another process's uploads are not touched
    try:
        database = open_database(settings)
        accounts = Accounts(database, settings)
        _create_first_account(settings, accounts)
    except InputError:
        lock.close()
        raise
    throttle, history = Throttle(settings), History(database, settings)
    limits = UploadLimits(
        max_age=3600 * settings.upload_hours,
        bytes_per_user=settings.upload_bytes_per_account,
        bytes_in_all=settings.upload_bytes,
        min_free_bytes=settings.min_free_bytes,
    )
    uploads = Uploads(prepare_folder(settings.data_dir / "uploads"), limits)
    work = Work(Models(captioner, settings), Opener(captioner, throttle, uploads), throttle, history)
    batch_limits = BatchLimits(
        max_files=settings.batch_files,
        max_bytes=settings.upload_bytes_per_account,
        file_bytes=settings.max_bytes,
        max_age=3600 * settings.batch_hours,
    )
    batches = BatchStore(
        settings.data_dir / "batches",
        batch_limits,
        uploads,
        lambda user_id: accounts.name_of(user_id) is not None,
    )
    return Services(
        settings=settings,
        captioner=captioner,
        database=database,
        accounts=accounts,
        identities=Identities(database, accounts, settings),
        openid=OpenID(settings),
        sessions=SessionStore(database, settings),
        tokens=Tokens(database),
        throttle=throttle,
        history=history,
        uploads=uploads,
        work=work,
        batches=batches,
        batch_workers=BatchWorkers(batches, work),
        split=TestSplit(settings.dataset, work.models.default, settings.data_dir) if settings.dataset else None,
        cookies=Cookies(read_server_id(settings.data_dir), settings),
        lock=lock,
        storage_risk=storage_risk(settings),
    )


def _create_first_account(settings: Settings, accounts: Accounts) -> None:
    """Create the first account of the settings. Raises InputError, which names the settings, if they are wrong."""
    if settings.first_user:
        try:
            accounts.create_first(settings.first_user, settings.first_password.get_secret_value())
        except InputError as error:
            raise InputError(f"IMGCAP_FIRST_USER and IMGCAP_FIRST_PASSWORD make no account. {error}") from None
