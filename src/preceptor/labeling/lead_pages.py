"""The lead's pages: how the work goes, who agrees with whom."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from preceptor.labeling.pages import render
from preceptor.labeling.security import Visitor, roles

router = APIRouter()

Lead = Annotated[Visitor, Depends(roles("researcher", "admin"))]


@router.get("/lead")
def lead(request: Request, visitor: Lead) -> HTMLResponse:
    return render(request, "lead.html")
