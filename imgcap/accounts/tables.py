"""Define the tables of the database. A change here needs a migration, as migrations/README.md says."""

from datetime import UTC, datetime

from sqlalchemy import (
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


def utc_now() -> datetime:
    """Return the current time with its time zone (UTC)."""
    return datetime.now(UTC)


class UTCDateTime(TypeDecorator[datetime]):
    """A time in UTC that keeps its time zone also on SQLite, which stores none."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  the signature is SQLAlchemy's
        """Convert any zone to UTC. Raises ValueError for a time without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time in the database needs a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  as above
        """Restore the time zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """The tables. Constraints have names, so that later migrations can change them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class User(Base):
    """An account."""

    __tablename__ = "users"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012  an id is never reused; SQLAlchemy's form

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(32), unique=True)
    """The result of `imgcap.accounts.users.normalise_name`."""
    password_hash: Mapped[str] = mapped_column(Text)
    """Argon2id in PHC string format."""
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now)

    def __repr__(self) -> str:
        return f"User(id={self.id}, name={self.name!r})"


class UserSession(Base):
    """A sign-in. Only the browser knows the token itself."""

    __tablename__ = "sessions"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of the token, in hexadecimal."""
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    last_used_at: Mapped[datetime] = mapped_column(UTCDateTime)


class AccessToken(Base):
    """A personal access token. Only the person who made it knows the token itself."""

    __tablename__ = "tokens"
    __table_args__ = (UniqueConstraint("user_id", "name"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(64))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256 of the token, in hexadecimal."""
    created_at: Mapped[datetime] = mapped_column(UTCDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    """Accurate to a minute, and only stored if the database could be written."""
    expires_at: Mapped[datetime | None] = mapped_column(UTCDateTime)


class Identity(Base):
    """A person's account elsewhere, which signs them in to their account here."""

    __tablename__ = "identities"

    subject: Mapped[str] = mapped_column(String(255), primary_key=True)
    """The provider's address, a space, and the provider's id of the person."""
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), unique=True)


class HistoryEntry(Base):
    """One reading of one user. Links, file names and places are not stored."""

    __tablename__ = "history"
    __table_args__ = (Index("ix_history_user_id_id", "user_id", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utc_now)
    source: Mapped[str] = mapped_column(String(16))
    """`"picture"` or `"link"`."""
    variance: Mapped[float]
    threshold: Mapped[float]
    valid: Mapped[bool]
    reason: Mapped[str | None] = mapped_column(String(32))
    caption: Mapped[str | None] = mapped_column(Text)
    """The model's caption."""
    confidence: Mapped[float | None]
    thumbnail: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    """A small JPEG without metadata."""
    edited_caption: Mapped[str | None] = mapped_column(Text)
    """The user's own caption; None if the user wrote none."""
    warning: Mapped[str | None] = mapped_column(String(32))
    """As in `imgcap.reading.Reading`."""
    model: Mapped[str | None] = mapped_column(Text)
    """Name of the model that was asked for the caption."""
    length: Mapped[str | None] = mapped_column(String(16))
    """Length of the caption that was asked for."""
    digest: Mapped[str | None] = mapped_column(String(64))
    """The result of `imgcap.accounts.history.digest_picture`."""

    @property
    def shown_caption(self) -> str | None:
        """The user's own caption, or else the model's."""
        return self.caption if self.edited_caption is None else self.edited_caption
