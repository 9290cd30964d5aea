"""Start the server from settings, and stop it without cutting a caption short."""

import errno
import logging
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from types import FrameType

import gradio as gr
from gradio.routes import App
from starlette.middleware import Middleware

from imgcap.accounts.storage import explain_risk, storage_risk
from imgcap.captioner import Captioner
from imgcap.errors import InputError
from imgcap.settings import Settings
from imgcap.web.gate.connections import Connections, bound_connections
from imgcap.web.gate.gradio_login import check_logins_on_the_event_loop, name_asker, refuse_everybody
from imgcap.web.gate.guard import Guard
from imgcap.web.gate.head import LanguageAtHead
from imgcap.web.gradio_parts import zero_gpu
from imgcap.web.gradio_parts.blocks import Page
from imgcap.web.gradio_parts.queueing import FairQueue
from imgcap.web.gradio_parts.states import use_lean_states
from imgcap.web.gradio_parts.tickets import FRESH_SECONDS
from imgcap.web.page import build_page
from imgcap.web.presentation import gauge, theme
from imgcap.web.routes import build_routes
from imgcap.web.services import Services, open_services

logger = logging.getLogger(__name__)

SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter while another one waits for it. A check needs the interpreter again after
each of some fifty calls, and the threads that write captions rarely let go of it; with Python's default of 5 ms a check
would wait longer than it works."""
MAX_THREADS = 200
"""Events that run at once. It must not be 40, with which Gradio shares its threads with sessions and static files."""
LOADING_SECONDS = 2.0
"""How long a stopping process waits for the model, whose loading cannot be interrupted."""
MAX_SESSIONS = 200
"""Sessions whose components Gradio keeps; each takes about 40 kB, and the page stores nothing in them."""


@dataclass
class Server:
    """The running app and its parts."""

    demo: gr.Blocks
    services: Services
    queue: FairQueue
    connections: Connections
    url: str

    def drain(self) -> bool:
        """Begin nothing new, and return whether all running work finished within `settings.shutdown_seconds`.

        It waits only a few seconds for a finished answer to be fetched, since its client may never come.
        """
        self.services.lifecycle.draining = True
        queue, deadline = self.queue, time.monotonic() + self.services.settings.shutdown_seconds
        while queue.is_working() and time.monotonic() < deadline:
            time.sleep(0.05)
        unread_until = min(deadline, time.monotonic() + FRESH_SECONDS)
        while self._is_delivering() and time.monotonic() < unread_until:
            time.sleep(0.05)
        return not queue.is_working()

    def _is_delivering(self) -> bool:
        return self.queue.tickets.have_fresh_answers() or self.services.lifecycle.open_streams > 0

    def close(self) -> None:
        """Stop without waiting for anything."""
        self.demo.close(verbose=False)
        self.services.close()


def launch(settings: Settings, captioner: Captioner) -> Server:
    """Start the app and return once it answers.

    Raises:
        InputError: the address, the data folder or the database in the settings cannot be used.
    """
    os.environ["FORWARDED_ALLOW_IPS"] = settings.trusted_proxies  # uvicorn's own trust in 127.0.0.1 is too much
    _check_address(settings.host, settings.port)  # before any file is touched
    services = open_services(settings, captioner)
    if risk := storage_risk(settings):
        logger.warning("%s", explain_risk(risk))
    zero_gpu.register()
    services.start()
    os.environ["GRADIO_TEMP_DIR"] = str(services.uploads.folder)  # read as the components are made
    demo = build_page(services)
    queue = services.queue = _replace_queue(demo, settings)
    app, url = _launch_page(demo, services)
    connections = bound_connections(demo.server.config, settings.connections_per_address, settings.trusted_proxies)
    use_lean_states(app, demo)
    _replace_sessions(app, services)
    services.lifecycle.ready = True
    return Server(demo, services, queue, connections, url)


def _replace_queue(demo: Page, settings: Settings) -> FairQueue:
    """Give the page a fair queue, and return it."""
    demo.queue(api_open=False)
    queue = demo._queue = FairQueue(
        demo,
        per_user=settings.waiting_per_account,
        running_per_user=settings.running_per_account,
        total=settings.waiting_in_all,
    )
    return queue


def _launch_page(demo: Page, services: Services) -> tuple[App, str]:
    """Serve the page with the app's own routes behind the guard, and return Gradio's app and the page's address."""
    settings = services.settings
    app, url, _ = demo.launch(
        auth=refuse_everybody,
        app_kwargs={
            "routes": build_routes(services),
            "middleware": [Middleware(Guard, services=services), Middleware(LanguageAtHead)],
        },
        server_name=settings.host,
        server_port=settings.port or None,
        root_path=settings.root_path or None,
        max_threads=MAX_THREADS,
        state_session_capacity=MAX_SESSIONS,
        max_file_size=settings.max_bytes,
        enable_monitoring=False,
        run_history=False,
        mcp_server=False,
        pwa=False,
        share=False,
        ssr_mode=False,
        footer_links=["api"],
        favicon_path=theme.FAVICON,
        i18n=demo.labels.translations(),
        theme=theme.THEME,
        css=gauge.CSS,
        css_paths=theme.CSS,
        head=theme.HEAD,
        show_error=False,
        quiet=True,
        prevent_thread_lock=True,
    )
    return app, url


def _replace_sessions(app: App, services: Services) -> None:
    """Let Gradio's app know the users of the app's own sessions."""
    app.cookie_id, app.tokens, app.auth_dependency = services.cookies.id, services.sessions, name_asker
    check_logins_on_the_event_loop(app)


def _check_address(host: str, port: int) -> None:
    """Raise an InputError with the reason if the app cannot listen at an address."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"Port {port} of {host} is taken: set IMGCAP_PORT to another.") from None
        if error.errno == errno.EACCES:
            raise InputError(f"Port {port} needs more rights than this user has: set IMGCAP_PORT above 1023.") from None
        raise InputError(
            f"The app cannot listen on {host}: set IMGCAP_HOST to an address of this machine, such as 127.0.0.1."
        ) from None


def serve(settings: Settings, captioner: Captioner) -> None:
    """Run the app until SIGTERM or SIGINT, and let what runs finish."""
    # No lock or event: a signal may come while this thread holds its lock, and a handler that sets it would then wait
    # for itself; or just before the thread falls asleep on it, and would not wake it.
    stopping = False

    def ask_to_stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  the signature is signal's
        nonlocal stopping
        stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        server = launch(settings, captioner)
    except InputError as error:
        raise SystemExit(str(error)) from None
    except OSError as error:
        raise SystemExit(f"The app cannot start: {error.strerror or error}.") from None
    warming = threading.Thread(target=server.services.work.warm_up, daemon=True)
    warming.start()
    print(f"imgcap is at {server.url}", flush=True)
    while not stopping:
        time.sleep(0.2)
    if not server.drain():
        logger.warning("stopped with captions unfinished after %g s", settings.shutdown_seconds)
    server.close()
    warming.join(LOADING_SECONDS)
    if warming.is_alive():
        # The interpreter cannot end while ONNX Runtime loads a model in another thread: it would abort.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)
