"""How a page is made: a template with the visitor, the words and what the route adds."""

from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from preceptor.labeling import showing, words
from preceptor.labeling.filling import (
    confidence_in,
    labels_in,
    pairs_in,
    quality_in,
    ranks_in,
    rated_in,
    rating_in,
    ratings_json,
    text_in,
    toxicity_in,
    unrated,
)

TEMPLATES = Path(__file__).parent / "templates"
STATIC = Path(__file__).parent / "static"


@cache
def environment() -> Environment:
    """Everything is escaped; `shown` and `markdown` are the only filters that return markup."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["words"] = words
    made.filters["shown"] = showing.shown
    made.filters["markdown"] = showing.markdown
    for read in (
        confidence_in,
        labels_in,
        pairs_in,
        quality_in,
        rated_in,
        ranks_in,
        rating_in,
        ratings_json,
        text_in,
        toxicity_in,
        unrated,
    ):
        made.filters[read.__name__] = read
    return made


def render(request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """A page for whoever the route's rule found."""
    visitor = getattr(request.state, "visitor", None)
    page = (
        environment()
        .get_template(template)
        .render(visitor=visitor, path=request.url.path, **context)
    )
    return HTMLResponse(page, status)
