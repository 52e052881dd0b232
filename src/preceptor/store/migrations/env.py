"""Runs the migrations on the connection that `preceptor.store.database` passes in."""

from alembic import context

from preceptor.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=False,
)
context.run_migrations()
