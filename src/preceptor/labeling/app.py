"""The app, put together in one place: the guard, the routes, what happens when something fails."""

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from preceptor.labeling import (
    account_pages,
    api,
    erasing,
    lead_files,
    lead_pages,
    lead_people,
    lead_work,
    task_ends,
    task_pages,
    work_pages,
)
from preceptor.labeling.failures import add_handlers, failure
from preceptor.labeling.guard import Guard
from preceptor.labeling.pages import STATIC
from preceptor.labeling.security import Throttle, require_rules
from preceptor.labeling.settings import Settings
from preceptor.store.database import Store


def create_app(store: Store, settings: Settings | None = None) -> FastAPI:
    """The labeling app over an open store.

    Raises:
        RuntimeError: a route does not say whom it is for.
    """
    app = FastAPI(title="Preceptor", openapi_url=None, docs_url=None, redoc_url=None)
    lay_over(app, store, settings or Settings())
    app.add_middleware(Guard, failure=failure)
    add_handlers(app)
    lead = (lead_pages, lead_work, lead_people, lead_files, erasing)
    for pages in (work_pages, task_pages, task_ends, account_pages, *lead):
        app.include_router(pages.router)
    app.include_router(api.router, prefix="/api/v1")
    app.mount("/static", StaticFiles(directory=STATIC))
    require_rules(app)
    return app


def lay_over(app: FastAPI, store: Store, settings: Settings) -> None:
    """Put the app over a store: all that its routes know of one stands in its state."""
    app.state.store = store
    app.state.settings = settings
    app.state.throttle = Throttle()
