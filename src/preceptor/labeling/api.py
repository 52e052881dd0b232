"""The REST interface, below /api/v1: what the pages do, for programs."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts

import preceptor
from preceptor.labeling import api_admin, api_lead, api_work
from preceptor.labeling.api_work import Labeler

router = APIRouter()


@router.get("/openapi.json", tags=["labeler"])
def openapi(request: Request, visitor: Labeler) -> dict[str, Any]:
    """This interface, as OpenAPI."""
    return schema_of(request.app)


def schema_of(app: Any) -> dict[str, Any]:
    """The OpenAPI of the app's interface, its pages left out."""
    routes = [r for r in iter_route_contexts(app.routes) if (r.path or "").startswith("/api/")]
    return get_openapi(title="Preceptor labels", version=preceptor.__version__, routes=routes)


for part in (api_work, api_lead, api_admin):
    router.include_router(part.router)
