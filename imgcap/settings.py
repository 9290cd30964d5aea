"""Every setting of the app, read from `IMGCAP_*` environment variables in this one place."""

from functools import lru_cache
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """Typed settings; the README's table lists each with its default."""

    model_config = SettingsConfigDict(env_prefix="IMGCAP_", frozen=True, extra="ignore")

    # model
    model: str = Field(str(ROOT / "models" / "attention"), description="folder or Hub id of the captioner")
    num_beams: int = Field(5, ge=1, le=20, description="beam width for captions")

    # pictures
    max_pixels: int = Field(64_000_000, ge=1, description="width x height above which a picture is refused")
    max_bytes: int = Field(25 * 2**20, ge=1, description="size in bytes above which a file or link is refused")
    url_timeout: float = Field(10.0, gt=0, description="seconds a link may take in all")
    url_max_redirects: int = Field(5, ge=0, description="redirects a link may take")

    # blur
    blur_threshold: float = Field(100.0, ge=0, description="Laplacian variance below which a picture is invalid")

    # server
    data_dir: Path = Field(
        Path.home() / ".local" / "share" / "imgcap", description="folder for the database and the app's own files"
    )
    database_url: str = Field("", description="SQLAlchemy URL; empty means SQLite in the data folder")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(7860, ge=0, le=65535, description="port to listen on")


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The process's settings, read once."""
    return Settings()
