"""Run the migrations in the connection and transaction of `imgcap.accounts.database`; Alembic runs this file."""

from alembic import context

from imgcap.accounts.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite cannot alter a table in place
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
