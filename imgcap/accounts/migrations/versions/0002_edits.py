"""Columns of the history for a person's own caption, the warning, the model, the length and the image's digest."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COLUMNS: dict[str, sa.types.TypeEngine[str]] = {
    "edited_caption": sa.Text(),
    "warning": sa.String(32),
    "model": sa.Text(),
    "length": sa.String(16),
    "digest": sa.String(64),
}


def upgrade() -> None:
    """Add the columns, which are null for existing readings."""
    for name, kind in COLUMNS.items():
        op.add_column("history", sa.Column(name, kind, nullable=True))


def downgrade() -> None:
    """Drop the columns, including the captions that people wrote."""
    with op.batch_alter_table("history", table_kwargs={"sqlite_autoincrement": True}) as table:
        for name in COLUMNS:
            table.drop_column(name)
