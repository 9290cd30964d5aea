"""Every setting of the app, read from `IMGCAP_*` environment variables in this one place."""

import os
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from imgcap.errors import InputError
from imgcap.images.limits import ImageLimits
from imgcap.inference.threads import usable_cores

ROOT = Path(__file__).resolve().parent.parent
T = TypeVar("T")


def _on_space(there: T, elsewhere: T) -> T:
    """Return the default for a Hugging Face Space, which sets this variable, or for any other machine."""
    return there if "SPACE_ID" in os.environ else elsewhere


def _checkpoint(name: str) -> str:
    """Return a checkpoint of a source checkout; an installed copy has none, and then this is empty."""
    folder = ROOT / "models" / name
    return str(folder) if (folder / "config.json").is_file() else ""


def _default_model() -> str:
    return _checkpoint("attention")


def _default_more(chosen: dict[str, Any]) -> str:
    """Return the other shipped checkpoint if the model is the shipped one, and otherwise nothing."""
    return _checkpoint("merge") if chosen.get("model") == _default_model() else ""


class Settings(BaseSettings):
    """Typed settings; docs/server.md lists each with its default."""

    model_config = SettingsConfigDict(env_prefix="IMGCAP_", frozen=True, extra="ignore")

    # model
    model: str = Field(default_factory=_default_model, description="folder or Hub id of the captioner")
    more_models: str = Field(
        default_factory=_default_more,
        description="further folders or Hub ids, comma-separated, that a person may choose from; each is loaded when "
        "it is first chosen",
    )
    engine: Literal["auto", "onnx", "torch"] = Field(
        "auto", description="what computes captions: onnx (CPU), torch, or auto: torch on a GPU, else onnx, else torch"
    )

    unfamiliar: Literal["warn", "refuse", "off"] = Field(
        "warn", description="what to do with pictures unlike the photographs the model learned from: "
        "warn with the caption, refuse to caption, or nothing (off)",
    )  # fmt: skip

    name_sex: Literal["always", "sure", "never"] = Field(
        "always",
        description='whether captions say "a man" or "a woman": always, only where the model is sure, or never',
    )
    dataset: str = Field(
        "", description="folder or Hub id of a data set in the layout of jxie/flickr8k, whose test split the page shows"
    )

    # images
    max_pixels: int = Field(ImageLimits.max_pixels, ge=1, description="width x height above which a picture is refused")
    max_bytes: int = Field(
        ImageLimits.max_bytes, ge=1, description="size in bytes above which a file or link is refused"
    )
    url_timeout: float = Field(ImageLimits.url_timeout, gt=0, description="seconds a link may take in all")
    url_max_redirects: int = Field(ImageLimits.url_max_redirects, ge=0, description="redirects a link may take")
    allow_private_links: bool = Field(
        ImageLimits.allow_private_links, description="let links lead to private addresses too (intranet, tests)"
    )
    link_contact: str = Field(
        ImageLimits.contact,
        description="e-mail address or page of who runs this, named to the servers that links lead to (User-Agent)",
    )

    # blur
    blur_threshold: float = Field(6.8, ge=0, description="Laplacian variance below which a picture is invalid")

    # server
    data_dir: Path = Field(
        Path.home() / ".local" / "share" / "imgcap", description="folder for the database and the app's own files"
    )
    database_url: str = Field("", description="SQLAlchemy URL; empty means SQLite in the data folder")
    short_lived: bool = Field(
        default_factory=lambda: _on_space(True, False),
        description="the data folder ends with this machine, as a Space's does: people who register are warned",
    )
    database_wait_seconds: float = Field(
        4.0, gt=0, description="seconds a request waits for a locked SQLite database before it is refused"
    )
    host: str = Field(
        default_factory=lambda: os.environ.get("GRADIO_SERVER_NAME") or _on_space("0.0.0.0", "127.0.0.1"),  # noqa: S104  a Space is reached from outside
        description="address to listen on",
    )
    port: int = Field(
        default_factory=lambda: int(os.environ.get("GRADIO_SERVER_PORT") or 7860),
        ge=0,
        le=65535,
        description="port to listen on",
    )
    root_path: str = Field(
        default_factory=lambda: os.environ.get("GRADIO_ROOT_PATH", ""),
        pattern=r"^(/[\w.~-]+)*$",
        description="path under which a proxy serves this app, such as /imgcap; the proxy takes it off",
    )
    frame_ancestors: str = Field(
        "'self' https://huggingface.co", description="pages that may show this one in a frame (CSP frame-ancestors)"
    )
    trusted_proxies: str = Field(
        default_factory=lambda: _on_space("10.0.0.0/8,172.16.0.0/12,192.168.0.0/16", ""),
        description="addresses or networks, comma-separated, whose X-Forwarded-For and -Proto are believed",
    )
    embedded: bool = Field(
        default_factory=lambda: _on_space(True, False),
        description="the page is shown in another site's frame over https: cookies are SameSite=None; Partitioned",
    )
    upload_hours: int = Field(1, ge=1, description="hours after which an uploaded picture is deleted")
    upload_bytes_per_account: int = Field(
        250 * 2**20, ge=2**20, description="bytes of one account's uploads; the oldest make room"
    )
    upload_bytes: int = Field(2**31, ge=2**20, description="bytes of all uploads together")
    min_free_bytes: int = Field(2**29, ge=0, description="bytes that uploads leave free on the disk")
    batch_files: int = Field(1_000, ge=1, description="pictures of one account's batch")
    batch_hours: int = Field(24, ge=1, description="hours after its last change at which a batch is deleted")
    running_per_account: int = Field(4, ge=1, description="requests of one account that are worked on at once")
    waiting_per_account: int = Field(
        40, ge=1, description="requests of one account that may wait, run, or have an answer nobody has read yet"
    )
    waiting_in_all: int = Field(
        default_factory=lambda: 500 * usable_cores(),
        ge=1,
        description="requests of all accounts that may wait, run, or be unread; by default 500 for each core",
    )
    connections_per_address: int = Field(100, ge=1, description="connections that one address may have open")
    shutdown_seconds: float = Field(30.0, ge=0, description="seconds that running captions have to finish on SIGTERM")
    operator: str = Field("", description="who runs this server, named in the privacy notice")

    # accounts
    open_registration: bool = Field(True, description="whether visitors may register; 0 leaves it to `imgcap user add`")
    first_user: str = Field("", description="account that is made at the start unless there is one of that name")
    first_password: SecretStr = Field(SecretStr(""), description="password of that account when it is made")
    oauth_client_id: str = Field(
        default_factory=lambda: os.environ.get("OAUTH_CLIENT_ID", ""),
        description="client id for signing in with Hugging Face, which a Space with hf_oauth has; empty offers none",
    )
    oauth_client_secret: SecretStr = Field(
        default_factory=lambda: SecretStr(os.environ.get("OAUTH_CLIENT_SECRET", "")),
        description="secret of that client",
    )
    openid_provider_url: str = Field(
        default_factory=lambda: os.environ.get("OPENID_PROVIDER_URL", "https://huggingface.co"),
        description="address of the OpenID provider that people sign in with",
    )
    public_host: str = Field(
        default_factory=lambda: os.environ.get("SPACE_HOST", "").partition(",")[0],
        description="host that browsers know this server by, for coming back from there; empty takes the request's",
    )
    min_password_length: int = Field(15, ge=8, le=64, description="characters a new password has at least")
    argon2_memory_kib: int = Field(19 * 1024, ge=19 * 1024, description="memory of one password hash in KiB")
    argon2_time_cost: int = Field(2, ge=2, description="passes of one password hash over its memory")
    argon2_parallelism: int = Field(1, ge=1, description="lanes of one password hash")
    hash_concurrency: int = Field(2, ge=1, description="password hashes computed at once")
    session_days: float = Field(30.0, gt=0, description="days after which a sign-in ends")
    session_idle_days: float = Field(7.0, gt=0, description="days without a request after which a sign-in ends")
    history_limit: int = Field(5_000, ge=1, description="readings kept for one user; the oldest make room")

    # throttling: how often, as "10/minute; 60/hour" (several limits hold together)
    sign_in_per_account: str = Field("10/minute; 60/hour", description="sign-ins tried for one account")
    sign_in_per_address: str = Field("20/minute; 200/hour", description="sign-ins tried from one address")
    registrations_per_account: str = Field("5/minute", description="registrations tried for one name")
    registrations_per_address: str = Field("10/minute; 30/hour", description="registrations tried from one address")
    pictures_per_account: str = Field(
        "240/minute; 3000/hour", description="pictures opened for one account: checks, captions, maps and links"
    )
    pictures_per_address: str = Field("480/minute; 6000/hour", description="pictures opened for one address")
    captions_per_account: str = Field("60/minute; 600/hour", description="captions asked for by one account")
    captions_per_address: str = Field("120/minute; 1200/hour", description="captions asked for from one address")
    frames_per_account: str = Field("600/minute", description="camera frames checked for one account")
    frames_per_address: str = Field("1200/minute", description="camera frames checked for one address")
    throttle_storage: str = Field(
        "memory://", description="where counts are kept; a storage URL of the `limits` library, such as redis://..."
    )

    @property
    def image_limits(self) -> ImageLimits:
        """The limits on images and links."""
        return ImageLimits(
            max_bytes=self.max_bytes, max_pixels=self.max_pixels, url_timeout=self.url_timeout,
            url_max_redirects=self.url_max_redirects, allow_private_links=self.allow_private_links,
            contact=self.link_contact,
        )  # fmt: skip


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the process's settings, read once.

    Raises:
        InputError: a variable has a value that its setting cannot take, or the name of a setting misspelt.
    """
    known = [f"IMGCAP_{name.upper()}" for name in Settings.model_fields]
    for name in sorted(name for name in os.environ if name.upper().startswith("IMGCAP_")):
        # A misspelt setting would silently keep its default. Names that resemble none are other programs'.
        if name.upper() not in known and (meant := get_close_matches(name.upper(), known, n=1, cutoff=0.9)):
            raise InputError(f"{name} is no setting: write {meant[0]}, or unset it.")
    try:
        return Settings()
    except ValidationError as error:
        wrong = error.errors()[0]
        raise InputError(f"IMGCAP_{str(wrong['loc'][0]).upper()} is wrong: {wrong['msg']}.") from error
